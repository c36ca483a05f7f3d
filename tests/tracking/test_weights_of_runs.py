"""Names of runs and models that are not there are told one by one."""

import os

import mlflow
import pytest

from mammogan.errors import TrackingError
from mammogan.tracking import store
from mammogan.tracking.weights import find


@pytest.mark.filterwarnings("ignore")
def test_what_init_from_names_in_vain_is_named(root):
    kept = dict(os.environ)
    store.setup(root)
    client = mlflow.MlflowClient()
    client.create_registered_model("breasts")
    for name, message in {
        "runs:/abc": r"runs:/abc: there is no run abc in the tracking store; `mammogan ui`",
        "models:/foo": r"models:/foo names no version of a model; write models:/NAME@ALIAS or models:/NAME/VERSION",
        "models:/foo@best": r"models:/foo@best: there is no registered model foo; there are: breasts",
        "models:/breasts@best": r"models:/breasts@best: breasts has no alias best",
        "models:/breasts/7": r"models:/breasts/7: breasts has no version 7",
    }.items():
        with pytest.raises(TrackingError, match=message):
            find(root, name)
    os.environ.clear()
    os.environ.update(kept)
