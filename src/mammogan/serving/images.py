"""One synthetic image as a PNG or JPEG that says that it is synthetic, and how it was made."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mammogan.data.tiles import Greys, to_8_bits
from mammogan.serving.recipe import Recipe, to_line
from mammogan.serving.sample import DrawPrecision


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
    precision: DrawPrecision = "fp32",
) -> bytes:
    """Grey levels (H, W), uint8 or uint16, as PNG of that depth; `labels` are what the image is conditioned on.

    The same arguments give the same bytes, whatever store the model lies in.
    """
    return png_of(image, Recipe(stamp.model, stamp.weights_sha256, seed, index, truncation, precision, labels).words())


def png_of(image: Greys, words: Mapping[str, str]) -> bytes:
    """Grey levels (H, W) as PNG of their depth, with the words of a recipe as text chunks."""
    text = PngInfo()
    text.add_text("synthetic", "true")
    for name, value in words.items():
        text.add_text(name, value)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def jpeg_of(image: Greys, words: Mapping[str, str]) -> bytes:
    """Grey levels (H, W) in 8 bits as JPEG of quality 95, with the words of a recipe as its comment."""
    buffer = io.BytesIO()
    comment = to_line({"synthetic": "true", **words})
    Image.fromarray(to_8_bits(image)).save(buffer, "JPEG", quality=95, comment=comment)
    return buffer.getvalue()
