import pytest

from mammogan.errors import TrackingError
from mammogan.tracking import model, runs, store
from mammogan.tracking.lineage import lineage
from mammogan.tracking.runs import TrialRun

LEVELS = {"lr": 0.0004, "batch_size": 16, "epochs": 60}


def test_the_hash_of_the_weights_leads_to_run_row_and_settings(root, weights, origin, train_config):
    experiment = store.experiment(root, "mammogan dcgan", "A study.")
    tags = runs.row_tags("dcgan-l9-1", "l9", 4, LEVELS)
    params = runs.parameters(train_config)
    with TrialRun(
        experiment, "row 4", kind="trial", model_name="dcgan", git_commit="0123abc", tags=tags, params=params
    ) as run:
        run.log_model(weights, origin)
    found = lineage(root, model.sha256(weights))
    assert found.weights.read_bytes() == weights.read_bytes()
    assert (found.run_id, found.run_name, found.versions) == (run.run_id, "row 4", [])
    assert (found.study, found.array, found.row) == ("dcgan-l9-1", "l9", "4")
    assert found.levels == {"lr": "0.0004", "batch_size": "16", "epochs": "60"}
    assert found.hyperparameters == params
    assert (found.git_commit, found.data_hash) == ("0123abc", origin.data_hash)


def test_weights_that_the_store_does_not_know_are_one_message(root):
    with pytest.raises(TrackingError, match=r"no generator with the weights 0123456789ab; .*--weights"):
        lineage(root, "0123456789abcdef")
