"""A flat black background, on which the textbook DCGAN collapses and instance noise mends it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mammogan.config import TrainConfig
from mammogan.serving.sample import sample
from mammogan.training.loop import Data, train
from mammogan.training.watchdog import Verdict
from small_networks import SMALL_DCGAN


@pytest.fixture
def breasts() -> NDArray[np.uint8]:
    """Grainy half discs of many sizes and greys at the left edge, exact black beside them."""
    chance = np.random.default_rng(0)
    row, column = np.mgrid[:64, :64]
    radius, grey = chance.uniform(16, 31, (256, 1, 1)), chance.uniform(90, 220, (256, 1, 1))
    tissue = grey + chance.normal(0, 25, (256, 64, 64))
    return np.where(np.hypot(row - 32, column) < radius, tissue, 0).clip(0, 255).astype(np.uint8)


@pytest.mark.slow
def test_instance_noise_keeps_samples_varied_where_the_textbook_collapses(
    small_config: Callable[..., TrainConfig], breasts: NDArray[np.uint8], tmp_path: Path
) -> None:
    def spread(noise: float) -> float:
        """Mean over pixels of the standard deviation over 64 samples, in grey levels."""
        config = small_config(
            "dcgan",
            lr=0.0005,
            batch_size=16,
            epochs=15,
            seed=0,
            evaluate_kimg=1000.0,
            instance_noise=noise,
            dcgan=SMALL_DCGAN.model_copy(update={"z_dim": 64, "base_channels": 24, "max_channels": 128}),
        )

        def ignore(*_: object) -> None:
            pass

        result = train(
            config,
            Data(breasts, "breasts"),
            folder=tmp_path / str(noise),
            log=ignore,
            snapshot=lambda *_: Verdict(),
            event=ignore,
            progress=ignore,
        )
        return float(sample(result.G, 64, seed=0).float().std(0).mean())

    real = float(breasts.astype(np.float32).std(0).mean())
    textbook, ours = spread(0.0), spread(0.2)
    assert 0.6 * real < ours < 1.4 * real
    assert textbook < 0.3 * real
