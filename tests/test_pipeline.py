"""The stages end to end on small phantoms, as a user calls them."""

import json
import sqlite3

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from checkouts import command_in, small_checkout
from mammogan.errors import EvaluationError
from mammogan.evaluation.weights import find_weights

try:
    find_weights(None)
except EvaluationError:
    pytest.skip("the FID network is not installed; run `mammogan weights`", allow_module_level=True)


def sql(path, query):
    with sqlite3.connect(path) as database:
        return database.execute(query).fetchall()


def trials_in(folder):
    """(row, state) of each Optuna trial; row 0 is a surplus trial: a worker came when no row was open."""
    return sql(
        folder / "optuna.db",
        "select cast(a.value_json as int), t.state from trials t join trial_system_attributes a using (trial_id) "
        "join studies s using (study_id) where a.key = 'taguchi:row' and s.study_name not like '%confirmation%' "
        "order by 1",
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A checkout after prepare, study, confirm, assess, register, generate and report of the DCGAN."""
    folder = small_checkout(tmp_path_factory.mktemp("pipeline"))
    run = command_in(folder)
    for command in (
        ["phantom", "data"],
        ["prepare"],
        ["study", "dcgan"],
        ["confirm", "dcgan"],
        ["assess", "dcgan"],
        ["register", "dcgan"],
        ["generate", "dcgan"],
        ["report"],
    ):
        done = run(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    return folder


def test_every_row_of_the_array_is_complete_once(finished):
    trials = pd.read_csv(finished / "studies" / "dcgan" / "trials.csv")
    assert trials["row"].tolist() == list(range(1, 10))
    assert set(trials["state"]) == {"COMPLETE"}
    assert trials["fid"].gt(0).all()
    assert [trial for trial in trials_in(finished) if trial != (0, "PRUNED")] == [(k, "COMPLETE") for k in range(1, 10)]


def test_the_best_row_is_the_lowest_fid_that_has_not_collapsed(finished):
    trials = pd.read_csv(finished / "studies" / "dcgan" / "trials.csv")
    best = json.loads((finished / "studies" / "dcgan" / "best.json").read_text())
    sound = trials[~trials["collapsed"]] if not trials["collapsed"].all() else trials
    assert best["fid"] == pytest.approx(sound["fid"].min())
    assert best["line"].startswith("FID ")
    assert "floor" in best["line"]


def test_each_trial_is_a_flat_mlflow_run_with_its_levels_fid_and_model(finished):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dcgan-study")
    runs = client.search_runs([experiment.experiment_id], "tags.`mammogan.kind` = 'trial'")
    assert len(runs) == 9
    trials = pd.read_csv(finished / "studies" / "dcgan" / "trials.csv", dtype={"run_id": str}).set_index("run_id")
    for run in runs:
        row = trials.loc[run.info.run_id]
        assert run.info.status == "FINISHED"
        assert run.info.run_name.startswith(f"row {row['row']}: lr ")
        assert run.data.tags["mammogan.row"] == str(row["row"])
        assert float(run.data.params["lr"]) == row["lr"]
        assert run.data.metrics["final/fid"] == pytest.approx(row["fid"])
        assert max(point.step for point in client.get_metric_history(run.info.run_id, "loss/G")) == row["n_images"]
        assert run.inputs.dataset_inputs
    models = client.search_logged_models([experiment.experiment_id])
    assert {model.source_run_id for model in models} == set(trials.index)
    studies = client.search_runs([experiment.experiment_id], "tags.`mammogan.kind` = 'study'")
    assert len(studies) == 1


def test_the_synthetic_set_says_what_it_is_and_where_it_comes_from(finished):
    folder = finished / "synthetic" / "dcgan"
    manifest = json.loads((folder / "manifest.json").read_text())
    best = json.loads((finished / "confirmations" / "dcgan" / "best.json").read_text())
    assert manifest["synthetic"] is True
    assert manifest["run_id"] == best["run_id"]
    files = pd.read_csv(folder / "manifest.csv")["file"]
    assert len(files) == 5
    images = [np.asarray(Image.open(folder / file)) for file in files]
    assert {image.shape for image in images} == {(32, 32)}


def test_the_favoured_levels_are_run_again_and_the_champion_has_the_lowest_fid_at_the_end(finished):
    folder = finished / "confirmations" / "dcgan"
    facts, best = (json.loads((folder / name).read_text()) for name in ("confirmation.json", "best.json"))
    again = pd.read_csv(folder / "trials.csv")
    trials = pd.read_csv(finished / "studies" / "dcgan" / "trials.csv")
    assert set(facts["levels"]) == {"lr", "batch_size", "epochs"}
    assert again["replicate"].tolist() == [1, 2]
    assert set(again["seed"]).isdisjoint(trials["seed"])
    sound = [frame[~frame["collapsed"]]["fid"] for frame in (trials, again) if not frame["collapsed"].all()]
    assert best["fid"] == pytest.approx(min(part.min() for part in sound) if sound else trials["fid"].min())
    assert "predicted" in facts["sentences"][0]
    assert "Confirmation" in (finished / "reports" / "report.html").read_text(encoding="utf-8")


def test_a_confirmation_again_trains_nothing(finished):
    before = (finished / "confirmations" / "dcgan" / "best.json").read_bytes()
    done = command_in(finished)("confirm", "dcgan")
    assert done.returncode == 0
    assert (finished / "confirmations" / "dcgan" / "best.json").read_bytes() == before


def test_the_assessment_says_what_was_measured_in_files_mlflow_and_report(finished):
    import mlflow

    folder = finished / "results" / "dcgan"
    facts, figures = (json.loads((folder / name).read_text()) for name in ("assessment.json", "metrics.json"))
    first, *others = facts["lines"]
    assert first.startswith("FID ")
    assert [line.split()[0] for line in others] == ["copies", "nearest", "membership", "utility"]
    assert figures["fid_low"] < figures["fid"] < figures["fid_high"]
    assert (folder / "closest-pairs.png").exists()
    client = mlflow.MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("assessment").experiment_id])
    assert run.data.metrics["assess/fid"] == pytest.approx(figures["fid"])
    page = (finished / "reports" / "report.html").read_text(encoding="utf-8")
    assert "Assessment of the best generator" in page
    assert "was not tested (DCGAN)" not in page


def test_an_assessment_again_computes_nothing(finished):
    before = (finished / "results" / "dcgan" / "metrics.json").read_bytes()
    done = command_in(finished)("assess", "dcgan")
    assert "features" not in done.stderr
    assert (finished / "results" / "dcgan" / "metrics.json").read_bytes() == before


def test_the_report_is_one_page_that_names_the_data_and_what_was_not_measured(finished):
    page = (finished / "reports" / "report.html").read_text(encoding="utf-8")
    assert "Not run" in page  # StyleGAN
    assert "What was not measured" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_finished_study_called_again_trains_nothing(finished):
    before = (finished / "studies" / "dcgan" / "trials.csv").read_bytes()
    trials_before = trials_in(finished)
    done = command_in(finished)("study", "dcgan")
    assert done.returncode == 0
    assert (finished / "studies" / "dcgan" / "trials.csv").read_bytes() == before
    assert trials_in(finished) == trials_before


def test_registering_again_makes_no_new_version(finished):
    before = (finished / "registry" / "dcgan.json").read_bytes()
    done = command_in(finished)("register", "dcgan")
    assert "version 1 is champion" in done.stdout
    assert (finished / "registry" / "dcgan.json").read_bytes() == before


def test_a_saved_generator_gets_the_score_that_its_run_logged(finished):
    best = json.loads((finished / "confirmations" / "dcgan" / "best.json").read_text())
    done = command_in(finished)("evaluate", "dcgan")
    assert json.loads(done.stdout)["fid"] == pytest.approx(best["fid"], rel=1e-3)


def test_a_generator_compared_with_itself_does_not_differ(finished):
    done = command_in(finished)("compare", "dcgan", "confirmations/dcgan")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("fid ", "kid ", "recall "))]
    assert len(rows) == 3
    assert all("not told apart" in row for row in rows)


def test_training_a_stylegan_by_hand_is_a_tracked_run_that_is_not_repeated(finished):
    settings = finished / "params.yaml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("model: dcgan", "model: stylegan").replace("epochs: 40", "epochs: 1"))
    run = command_in(finished)
    first, second = run("train"), run("train")
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "real-vs-real floor" in first.stdout
