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
from small_networks import with_contrast


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


def _stamp_of(weights: Path) -> Stamp:
    return Stamp(
        model="dcgan",
        model_version="",
        run_id="f" * 32,
        git_commit="0123abc",
        data_hash="d" * 32 + ".dir",
        weights_sha256=model.sha256(weights),
    )


@pytest.fixture(scope="session")
def stamp(weights):
    return _stamp_of(weights)


@pytest.fixture(scope="session")
def weights_16(tmp_path_factory, train_config):
    """A generator as if trained on 16-bit tiles; with initial weights it would draw flat grey."""
    path = tmp_path_factory.mktemp("weights-16") / model.WEIGHTS
    G = with_contrast(build(train_config, 32)[0])
    G.bits = 16
    store.save(path, G, train_config, 32)
    return path


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, weights, stamp):
    return _saved_model(tmp_path_factory.mktemp("model") / "saved", weights, stamp)


def _saved_model(folder: Path, weights: Path, stamp: Stamp) -> Path:
    facts = model.facts(weights, Origin("dcgan", 32, stamp.git_commit, stamp.data_hash), stamp.run_id)
    with pytest.MonkeyPatch.context() as strict, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about pandas and its type hints
        strict.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        mlflow.pyfunc.save_model(folder, **model.parts(weights, facts))
    return folder


@pytest.fixture(scope="session")
def served(model_folder):
    return mlflow.pyfunc.load_model(str(model_folder))


@pytest.fixture(scope="session")
def stamp_16(weights_16):
    return _stamp_of(weights_16)


@pytest.fixture(scope="session")
def served_16(tmp_path_factory, weights_16, stamp_16):
    folder = _saved_model(tmp_path_factory.mktemp("model-16") / "saved", weights_16, stamp_16)
    return mlflow.pyfunc.load_model(str(folder))
