"""The simplest detection task: noise, and in some images a bright blob."""

from typing import Any

import numpy as np

from mammogan.config import UtilityConfig
from mammogan.evaluation.utility import Labelled


def blobs(n: int, seed: int = 0, share: float = 0.5, px: int = 32, images_a_patient: int = 1) -> Labelled:
    """Images uint8 (n, px, px) of faint noise, the first `share` of them with a blob."""
    rng = np.random.default_rng(seed)
    images = rng.integers(30, 50, (n, px, px))
    labels = np.arange(n) < round(share * n)
    for index in np.flatnonzero(labels):
        row, column = rng.integers(2, px - 12, 2)
        images[index, row : row + 10, column : column + 10] += 150
    return Labelled(images.astype(np.uint8), labels, [f"p{seed}-{k // images_a_patient}" for k in range(n)])


def utility_config(**changes: Any) -> UtilityConfig:
    """A measurement of a second or so."""
    section = {
        "label": "cancer",
        "positive": ["1"],
        "negative": ["0"],
        "resolution": 32,
        "per_real": 1.0,
        "seeds": 3,
        "epochs": 1,
        "batch_size": 8,
        "lr": 0.003,
        "seed": 0,
    }
    return UtilityConfig.model_validate({**section, **changes})
