import math
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import mammogan
from mammogan.errors import TrackingError
from mammogan.tracking import runs, store
from mammogan.tracking.runs import METRIC_NAMES, TrialRun

LEVELS = {"lr": 0.0004, "batch_size": 16, "epochs": 60}
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def experiment(root):
    return store.experiment(root, "mammogan dcgan", "A study.")


@pytest.fixture
def open_run(experiment):
    def make(name="run", **more):
        return TrialRun(experiment, name, **({"kind": "trial", "model_name": "dcgan", "git_commit": "0123abc"} | more))

    return make


def status(run: TrialRun) -> str:
    return mlflow.get_run(run.run_id).info.status


def history(run: TrialRun, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in mlflow.MlflowClient().get_metric_history(run.run_id, name)]


def test_a_run_says_by_its_name_what_it_is():
    assert runs.row_name(4, LEVELS) == "row 4: lr 0.0004 b16 e60"


def test_parameters_are_flat_and_leave_out_the_other_architecture(train_config):
    parameters = runs.parameters(train_config)
    assert parameters["lr"] == str(train_config.lr)
    assert parameters["dcgan.z_dim"] == "8"
    assert not any(name.startswith("stylegan") for name in parameters)


def test_a_trial_leaves_name_tags_parameters_curves_and_final_figures(open_run, train_config):
    tags = runs.row_tags("dcgan l9", "l9", 4, LEVELS)
    with open_run("dcgan l9 row 4", tags=tags, params=runs.parameters(train_config)) as run:
        run.log({"loss/G": 0.7, "loss/D": 1.4}, step=100)
        run.log({"loss/G": 0.8, "loss/D": 1.3}, step=200)
        run.final({"final/fid": 33.0})
    found = mlflow.get_run(run.run_id)
    assert found.info.run_name == "dcgan l9 row 4"
    assert found.info.status == "FINISHED"
    assert found.data.tags["mammogan.kind"] == "trial"
    assert found.data.tags["mammogan.row"] == "4"
    assert found.data.tags["mammogan.level.lr"] == "0.0004"
    assert found.data.tags["mlflow.source.git.commit"] == "0123abc"
    assert found.data.params["batch_size"] == str(train_config.batch_size)
    assert found.data.metrics["final/fid"] == 33.0
    assert history(run, "loss/D") == [(100, 1.4), (200, 1.3)]


def test_points_reach_the_store_in_batches(open_run, monkeypatch):
    monkeypatch.setattr(runs, "_FLUSH_S", math.inf)
    with open_run() as run:
        for step in range(runs._FLUSH_POINTS - 1):
            run.log({"loss/G": 1.0}, step)
        assert history(run, "loss/G") == []
        run.log({"loss/G": 1.0}, runs._FLUSH_POINTS)
        assert len(history(run, "loss/G")) == runs._FLUSH_POINTS


@pytest.mark.parametrize(
    ("stop", "expected"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
)
def test_a_run_that_stops_early_never_counts_as_finished(open_run, stop, expected):
    with pytest.raises(stop), open_run() as run:  # noqa: PT012
        run.log({"loss/G": 1.0}, step=1)
        raise stop
    assert status(run) == expected
    assert history(run, "loss/G") == [(1, 1.0)]


def test_values_that_are_not_finite_are_left_out_and_named(open_run):
    with open_run() as run:
        run.log({"loss/G": math.inf, "loss/D": 1.0}, step=10)
        run.log({"loss/G": math.nan, "loss/D": 1.0}, step=20)
    assert history(run, "loss/G") == []
    assert mlflow.get_run(run.run_id).data.tags["mammogan.not_finite"] == "loss/G is inf at step 10"


def test_a_metric_that_nobody_explained_is_refused(open_run):
    with pytest.raises(KeyError, match=r"loss/Q.*docs/metrics\.md"), open_run() as run:
        run.log({"loss/Q": 1.0}, step=1)


def test_a_killed_run_goes_on_without_repeating_a_point(open_run):
    grid = np.zeros((8, 8), np.uint8)
    with pytest.raises(KeyboardInterrupt), open_run() as run:  # noqa: PT012
        run.log({"loss/G": 1.0}, step=100)
        run.log({"loss/G": 2.0}, step=200)
        run.log_image(grid, step=0)
        raise KeyboardInterrupt
    with open_run(run_id=run.run_id) as again:
        again.log_image(grid, step=0)
        for _ in range(2):  # what the disk remembers is replayed, then the loop does the same steps again
            again.log_image(grid, step=300)
            again.log({"loss/G": 2.0}, step=200)
            again.log({"loss/G": 3.0}, step=300)
    assert again.run_id == run.run_id
    assert status(again) == "FINISHED"
    assert history(again, "loss/G") == [(100, 1.0), (200, 2.0), (300, 3.0)]
    images = [file.path for file in mlflow.MlflowClient().list_artifacts(run.run_id, "images")]
    assert len([path for path in images if path.endswith(".png")]) == 2


def test_final_figures_are_logged_once_beside_the_sample_grid_of_step_0(open_run):
    with open_run() as run:
        run.log({"loss/G": 5.0}, step=0)
        run.final({"final/fid": 33.0, "final/floor": 20.0})
    with open_run(run_id=run.run_id) as again:
        again.final({"final/fid": 33.0, "final/floor": 20.0, "final/kid": 0.1})
    assert [history(run, name) for name in ("loss/G", "final/fid", "final/floor", "final/kid")] == [
        *([(0, 5.0)], [(0, 33.0)], [(0, 20.0)], [(0, 0.1)]),
    ]


def test_an_earlier_run_is_found_by_its_tags_and_its_ghosts_are_laid(open_run, experiment):
    tags = runs.row_tags("dcgan l9", "l9", 4, LEVELS)
    ghost = open_run(tags=tags, params={"lr": "0.1"}).__enter__()
    older = open_run(tags=tags, params={"lr": "0.2"}).__enter__()
    killed = open_run(tags=tags, params={"lr": "0.2"}).__enter__()
    assert runs.earlier_run(experiment, tags, {"lr": "0.2"}) == killed.run_id
    assert (status(ghost), status(older), status(killed)) == ("KILLED", "KILLED", "RUNNING")
    assert runs.earlier_run(experiment, runs.row_tags("dcgan l9", "l9", 5, LEVELS), {}) is None


def test_a_finished_run_is_opened_again_rather_than_made_twice(open_run, experiment):
    tags = runs.row_tags("dcgan l9", "l9", 4, LEVELS)
    with open_run(tags=tags, params={"lr": "0.2"}) as finished:
        pass
    assert runs.earlier_run(experiment, tags, {"lr": "0.2"}) == finished.run_id
    with open_run(tags=tags, params={"lr": "0.2"}, run_id=finished.run_id):
        assert status(finished) == "RUNNING"
    assert status(finished) == "FINISHED"
    assert len(mlflow.MlflowClient().search_runs([experiment])) == 1


def test_a_run_killed_while_it_is_opened_is_found_and_laid(open_run, experiment, monkeypatch):
    def killed(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    tags = runs.row_tags("dcgan l9", "l9", 4, LEVELS)
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run(tags=tags, params={"lr": "0.2"}).__enter__()
    assert runs.earlier_run(experiment, {"mammogan.kind": "trial", **tags}, {"lr": "0.2"}) is None
    (ghost,) = mlflow.MlflowClient().search_runs([experiment])
    assert ghost.info.status == "KILLED"


def test_the_same_weights_are_logged_to_a_run_once(open_run, save_generator, origin):
    first, second = save_generator(0), save_generator(1)
    with open_run() as run:
        model_id = run.log_model(first, origin)
    with open_run(run_id=run.run_id) as again:
        assert again.log_model(first, origin) == model_id
        other = again.log_model(second, origin)
    with open_run() as elsewhere:
        assert elsewhere.log_model(first, origin) not in (model_id, other)
    held = mlflow.get_run(run.run_id).outputs.model_outputs
    assert sorted(output.model_id for output in held) == sorted([model_id, other])


def test_other_parameters_for_the_same_run_are_refused(open_run):
    with open_run(params={"lr": "0.1"}) as run:
        pass
    with pytest.raises(TrackingError, match="opening the run"):
        open_run(params={"lr": "0.2"}, run_id=run.run_id).__enter__()


def test_sample_grids_stand_in_the_image_panel_under_one_key(open_run):
    with open_run() as run:
        run.log_image(np.full((16, 16), 128, np.uint8), step=0)
    (image,) = [
        file.path for file in mlflow.MlflowClient().list_artifacts(run.run_id, "images") if file.path.endswith(".png")
    ]
    assert re.match(r"images/samples[%+]step[%+]0[%+]", image)


def test_the_data_is_linked_by_its_dvc_hash(open_run):
    digest = "0123456789abcdef0123456789abcdef.dir"  # DVC's longest, and MLflow's limit
    with open_run() as run:
        run.log_dataset("mammograms", digest, "data")
    (used,) = mlflow.get_run(run.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("mammograms", digest)
    assert mlflow.get_run(run.run_id).data.tags["mammogan.data"] == digest


def test_a_model_that_was_not_logged_to_the_end_is_logged_again(open_run, weights, origin):
    with open_run() as run:
        cut_short = run.log_model(weights, origin)
        mlflow.MlflowClient().finalize_logged_model(cut_short, "FAILED")
        assert run.log_model(weights, origin) != cut_short


@pytest.fixture
def log_study(experiment, tmp_path):
    plot = tmp_path / "effects.png"
    plot.write_bytes(b"png")

    def log(best_fid: float) -> str:
        return runs.log_study(
            experiment,
            "dcgan l9",
            model_name="dcgan",
            git_commit="0123abc",
            trials=pd.DataFrame({"row": [1, 2], "fid": [30.0, best_fid]}),
            effects=pd.DataFrame({"factor": ["lr"]}),
            anova=pd.DataFrame({"source": ["lr"]}),
            plots=[plot],
            audit="Balanced and orthogonal.",
        )

    return log


def test_a_study_that_has_not_changed_keeps_the_run_it_has(experiment, log_study):
    run_id = log_study(20.0)
    assert log_study(20.0) == run_id
    (run,) = mlflow.MlflowClient().search_runs([experiment])
    assert run.data.tags["mammogan.kind"] == "study"
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/trials.csv") == "row,fid\n1,30.0\n2,20.0\n"
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/plots/effects.png") == "png"


def test_a_study_that_has_changed_or_was_cut_short_has_its_run_replaced(experiment, log_study):
    first = log_study(20.0)
    second = log_study(10.0)
    mlflow.MlflowClient().set_terminated(second, "KILLED")
    third = log_study(10.0)
    assert len({first, second, third}) == 3
    (run,) = mlflow.MlflowClient().search_runs([experiment])
    assert (run.info.run_id, run.info.status) == (third, "FINISHED")
    assert mlflow.artifacts.load_text(f"runs:/{third}/trials.csv") == "row,fid\n1,30.0\n2,10.0\n"


def test_every_logged_name_is_explained_in_the_documentation():
    text = DOCS.read_text(encoding="utf-8")
    explained = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", text, re.MULTILINE))
    for name, words in METRIC_NAMES.items():
        assert explained.get(name) == words


def test_every_tag_and_parameter_is_explained_in_the_documentation(train_config):
    text = DOCS.read_text(encoding="utf-8")
    package = Path(mammogan.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in [*package.glob("*.py"), *package.glob("tracking/*.py")])
    tags = set(re.findall(r'"(mammogan\.[a-z]\w+)', code))
    assert "mammogan.row" in tags
    assert {tag for tag in tags if f"`{tag}" not in text} == set()
    plain = {name for name in runs.parameters(train_config) if "." not in name}
    assert {name for name in plain if f"`{name}`" not in text} == set()
