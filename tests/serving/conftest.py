"""A tiny generator as the server sees it."""

import warnings
from pathlib import Path

import mlflow.pyfunc
import pytest
import torch

from mammogan.config import TrainConfig, load
from mammogan.models import build, store
from mammogan.serving.images import Stamp
from mammogan.tracking import model
from mammogan.tracking.model import Origin


@pytest.fixture(scope="session")
def train_config() -> TrainConfig:
    train = load(Path(__file__).parents[2] / "params.yaml").train
    return train.model_copy(
        update={"dcgan": train.dcgan.model_copy(update={"z_dim": 8, "base_channels": 4, "max_channels": 8})}
    )


@pytest.fixture(scope="session")
def weights(tmp_path_factory, train_config):
    path = tmp_path_factory.mktemp("weights") / model.WEIGHTS
    torch.manual_seed(0)
    G, _ = build(train_config, 32)
    store.save(path, G, train_config, 32)
    return path


@pytest.fixture(scope="session")
def generator(weights):
    return store.load(weights)


@pytest.fixture(scope="session")
def stamp(weights):
    return Stamp(
        model="dcgan",
        model_version="",
        run_id="f" * 32,
        git_commit="0123abc",
        data_hash="d" * 32 + ".dir",
        weights_sha256=model.sha256(weights),
    )


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, weights, stamp):
    folder = tmp_path_factory.mktemp("model") / "saved"
    facts = model.facts(weights, Origin("dcgan", 32, stamp.git_commit, stamp.data_hash), stamp.run_id)
    with pytest.MonkeyPatch.context() as strict, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about pandas and its type hints
        strict.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        mlflow.pyfunc.save_model(folder, **model.parts(weights, facts))
    return folder


@pytest.fixture(scope="session")
def served(model_folder):
    return mlflow.pyfunc.load_model(str(model_folder))
