"""A tracking store made once, and copied for each test; tiny generators."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from mammogan.config import TrainConfig, load
from mammogan.models import build
from mammogan.models import store as weights_store
from mammogan.tracking import store
from mammogan.tracking.model import Origin

ENVIRONMENT = [*store.environment(Path()).keys() - {"PATH"}, "MAMMOGAN_TRACKING_URI"]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"])
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "")  # so that the value of before comes back after the test
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    kept = dict(os.environ)
    store.setup(root)
    os.environ.clear()
    os.environ.update(kept)
    return root


@pytest.fixture
def root(tmp_path, empty_store):
    """A checkout with a fresh store, in a folder whose name needs quoting in URIs."""
    folder = tmp_path / "a clone of ü"
    folder.mkdir()
    for file in empty_store.glob("mlflow.db*"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def train_config() -> TrainConfig:
    train = load(Path(__file__).parents[2] / "params.yaml").train
    return train.model_copy(
        update={"dcgan": train.dcgan.model_copy(update={"z_dim": 8, "base_channels": 4, "max_channels": 8})}
    )


@pytest.fixture
def save_generator(tmp_path, train_config):
    """A function that puts a tiny DCGAN of 32 px on disk, under a name of its own."""

    def save(seed: int) -> Path:
        torch.manual_seed(seed)
        G, _ = build(train_config, 32)
        path = tmp_path / "studies" / f"G_ema-{seed}.safetensors"
        weights_store.save(path, G, train_config, 32)
        return path

    return save


@pytest.fixture
def weights(save_generator):
    return save_generator(0)


@pytest.fixture
def origin():
    return Origin(model="dcgan", resolution=32, git_commit="0123abc", data_hash="d" * 32 + ".dir")
