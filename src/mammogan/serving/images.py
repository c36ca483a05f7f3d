"""One synthetic image as a PNG that says that it is synthetic, and by whom."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo


@dataclass(frozen=True)
class Stamp:
    """Where a generator comes from; every answer and every manifest bears it.

    Attributes:
        model: dcgan or stylegan.
        model_version: version in the registry, empty for a model that is not registered.
        run_id: the MLflow run that trained it.
        git_commit: of the code that trained it.
        data_hash: DVC hash of the data it was trained on.
        weights_sha256: of the weights' file.
    """

    model: str
    model_version: str
    run_id: str
    git_commit: str
    data_hash: str
    weights_sha256: str


def png(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    stamp: Stamp,
    seed: int,
    index: int,
    truncation: float,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Grey levels (H, W), uint8 or uint16, as PNG of that depth; `labels` are what the image is conditioned on.

    The same arguments give the same bytes, whatever store the model lies in.
    """
    text = PngInfo()
    text.add_text("synthetic", "true")
    text.add_text("model", stamp.model)
    text.add_text("weights_sha256", stamp.weights_sha256)
    text.add_text("seed", str(seed))
    text.add_text("index", str(index))
    text.add_text("truncation", str(truncation))
    for label, value in labels.items():
        text.add_text(label, value)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
