"""Training sections of networks that take milliseconds a step, for the tests of models and training."""

from collections.abc import Callable

import pytest
import torch

from mammogan.config import DCGANConfig, ModelName, StyleGANConfig, TrainConfig
from mammogan.models import Generator

SMALL_DCGAN = DCGANConfig(
    z_dim=8, base_channels=4, max_channels=16, spectral_norm=False, minibatch_std=False, r1_gamma=0.0, r1_every=2
)
SMALL_STYLEGAN = StyleGANConfig(
    z_dim=8,
    w_dim=8,
    mapping_layers=2,
    base_channels=64,
    max_channels=8,
    style_mixing=0.9,
    normalisation="adain",
    r1_gamma=1.0,
    r1_every=2,
    path_length=0.0,
    path_length_every=2,
    grow_from=None,
    grow_kimg=0.01,
)


def with_contrast(G: Generator) -> Generator:
    """`G` in eval mode with weights large enough for a picture; with its initial ones it draws flat grey."""
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in G.parameters():
            weight.normal_(0, 0.3, generator=chance)
    return G.eval()


@pytest.fixture
def small_config() -> Callable[..., TrainConfig]:
    """Makes the section of a model, with the changes asked for."""

    def make(model: ModelName, **changes: object) -> TrainConfig:
        section = {
            "model": model,
            "lr": 0.001,
            "lr_d_ratio": 1.0,
            "batch_size": 4,
            "epochs": 2,
            "kimg": None,
            "seed": 3,
            "loss": "non_saturating",
            "instance_noise": 0.2,
            "augment": {"mode": "none", "operations": ["translate"], "target": 0.6, "every": 4, "kimg": 0.1},
            "ema_kimg": 1.0,
            "evaluate_kimg": 0.016,
            "condition": None,
            "init_from": None,
            "freeze_d": 0,
            "watchdog": {"act": "report", "overfit": 1.0},
            "precision": "fp32",
            "compile": False,
            "device": "cpu",
            "dcgan": SMALL_DCGAN,
            "stylegan": SMALL_STYLEGAN,
        }
        return TrainConfig.model_validate({**section, **changes})

    return make


@pytest.fixture(params=["dcgan", "stylegan"])
def train_config(request: pytest.FixtureRequest, small_config: Callable[..., TrainConfig]) -> TrainConfig:
    """A small training section of each model in turn."""
    return small_config(request.param)
