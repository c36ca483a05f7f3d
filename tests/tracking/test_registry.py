import hashlib
import json
import shutil
from pathlib import Path

import mlflow
import pytest

from mammogan.errors import TrackingError
from mammogan.tracking import registry, store
from mammogan.tracking.registry import ALIAS, champion, register
from mammogan.tracking.runs import TrialRun

NAME = "mammogan-dcgan"


@pytest.fixture
def trusting(monkeypatch):
    """The registry without the trial in another process, which takes seconds and has tests of its own."""
    monkeypatch.setattr(registry, "_try_out", lambda root, uri: None)


@pytest.fixture
def log_trial(root, origin):
    """A function that logs a generator as a trial does, and returns the id of the run."""

    def log(weights: Path) -> str:
        experiment = store.experiment(root, "mammogan dcgan", "A study.")
        with TrialRun(experiment, "trial", kind="trial", model_name="dcgan", git_commit="0123abc") as run:
            run.final({"final/fid": 33.0})
            run.log_model(weights, origin)
        return run.run_id

    return log


def versions() -> list[int]:
    found = mlflow.MlflowClient().search_model_versions(f"name = '{NAME}'")
    return sorted(int(version.version) for version in found)


def test_the_best_run_of_a_study_becomes_champion_after_a_trial_away_from_the_repository(
    root, log_trial, weights, origin, tmp_path
):
    run_id = log_trial(weights)
    receipt = register(root, "mammogan", weights, origin, fid=33.25)
    found = champion(root, NAME)
    assert (found.version, found.run_id, found.model) == ("1", run_id, "dcgan")
    assert (found.git_commit, found.data_hash) == (origin.git_commit, origin.data_hash)
    assert found.weights.read_bytes() == weights.read_bytes()
    assert found.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    receipt.write(tmp_path / "registry" / "dcgan.json")
    assert json.loads((tmp_path / "registry" / "dcgan.json").read_text(encoding="utf-8")) == {
        "name": NAME,
        "alias": "champion",
        "weights_sha256": found.weights_sha256,
        "fid": 33.25,
    }


def test_the_logged_model_stands_beside_its_figures(root, log_trial, weights):
    run_id = log_trial(weights)
    (output,) = mlflow.get_run(run_id).outputs.model_outputs
    logged = mlflow.get_logged_model(output.model_id)
    assert logged.source_run_id == run_id
    assert [(metric.key, metric.value) for metric in logged.metrics] == [("final/fid", 33.0)]


def test_registering_the_same_weights_again_makes_no_new_version(root, log_trial, weights, origin, monkeypatch):
    tried = []
    monkeypatch.setattr(registry, "_try_out", lambda root, uri: tried.append(uri))
    log_trial(weights)
    first = register(root, "mammogan", weights, origin, fid=33.0)
    assert register(root, "mammogan", weights, origin, fid=33.0) == first
    assert versions() == [1]
    assert tried == ["models:/mammogan-dcgan/1"]


def test_going_back_to_earlier_weights_goes_back_to_their_version(root, log_trial, save_generator, origin, trusting):
    old, new = save_generator(0), save_generator(1)
    for weights in (old, new, old):
        log_trial(weights)
        register(root, "mammogan", weights, origin, fid=33.0)
    assert versions() == [1, 2]
    assert champion(root, NAME).version == "1"


def test_weights_from_another_machine_are_logged_anew(root, weights, origin, trusting):
    register(root, "mammogan", weights, origin, fid=33.0)
    found = champion(root, NAME)
    run = mlflow.get_run(found.run_id)
    assert run.data.tags["mammogan.kind"] == "import"
    assert run.info.status == "FINISHED"


def test_a_version_whose_files_are_gone_is_replaced(root, weights, origin, trusting):
    register(root, "mammogan", weights, origin, fid=33.0)
    shutil.rmtree(root / "mlruns")
    with pytest.raises(TrackingError, match=r"version 1 are gone.*`mammogan register dcgan`"):
        champion(root, NAME)
    register(root, "mammogan", weights, origin, fid=33.0)
    assert champion(root, NAME).version == "2"


def test_weights_that_were_changed_after_registering_are_not_served(root, weights, origin, trusting):
    register(root, "mammogan", weights, origin, fid=33.0)
    file = champion(root, NAME).weights
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(TrackingError, match="is not the file that was registered as mammogan-dcgan version 1"):
        champion(root, NAME)


def test_a_model_that_cannot_be_served_does_not_become_champion(root, save_generator, origin, monkeypatch):
    good, bad = save_generator(0), save_generator(1)
    with monkeypatch.context() as trust:
        trust.setattr(registry, "_try_out", lambda root, uri: None)
        register(root, "mammogan", good, origin, fid=33.0)
    monkeypatch.setattr(registry, "_TRIAL", "import sys; sys.exit('no module named mammogan.models')")
    with pytest.raises(TrackingError, match=r"no module named mammogan\.models.*alias champion stays where it was"):
        register(root, "mammogan", bad, origin, fid=20.0)
    assert champion(root, NAME).version == "1"


@pytest.mark.slow
def test_a_model_that_brought_no_code_along_is_found_out(root, log_trial, weights, origin):
    log_trial(weights)
    (code,) = root.glob("mlruns/*/models/*/artifacts/code/mammogan")
    shutil.rmtree(code)
    with pytest.raises(TrackingError, match=r"brought no code of its own along|No module named 'mammogan'"):
        register(root, "mammogan", weights, origin, fid=33.0)
    assert ALIAS not in mlflow.MlflowClient().get_registered_model(NAME).aliases


def test_a_name_without_champion_gets_the_command_that_makes_one(root):
    with pytest.raises(TrackingError, match=r"knows no champion of mammogan-dcgan.*`mammogan register dcgan`"):
        champion(root, NAME)


def test_missing_weights_get_the_command_that_makes_them(root, tmp_path, origin):
    with pytest.raises(TrackingError, match="`mammogan study dcgan` makes it"):
        register(root, "mammogan", tmp_path / "none.safetensors", origin, fid=33.0)
