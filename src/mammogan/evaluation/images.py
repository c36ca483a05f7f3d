"""Images as every measure takes them: square, of one size, in 8-bit grey levels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammogan.data.tiles import Greys, to_8_bits
from mammogan.errors import EvaluationError

SMALLEST_PX = 16


def checked(images: Greys | Sequence[Greys], name: str) -> NDArray[np.uint8]:
    """Grey levels (N, S, S) or (N, 1, S, S), uint8 or uint16, as uint8 (N, S, S); a memory map of 8 bits stays one.

    Raises:
        EvaluationError: none, floats, several sizes, several channels, not square, or below 16 px; `name` says whose.
    """
    stack: NDArray[Any] = images if isinstance(images, np.ndarray) else _stacked(images, name)
    if stack.dtype not in (np.uint8, np.uint16):
        raise EvaluationError(
            f"{name} images are {stack.dtype}, expected grey levels, uint8 or uint16; convert them with"
            " data.tiles.to_pixels, once, the same way for real and synthetic"
        )
    if stack.ndim == 4 and stack.shape[1] == 1:
        stack = stack[:, 0]
    if stack.ndim != 3 or len(stack) == 0 or stack.shape[1] != stack.shape[2] or stack.shape[1] < SMALLEST_PX:
        raise EvaluationError(
            f"{name} images have shape {stack.shape}, expected square grey ones, (N, S, S) or (N, 1, S, S), with"
            f" N > 0 and S at least {SMALLEST_PX}"
        )
    return to_8_bits(stack)


def _stacked(images: Sequence[Greys], name: str) -> NDArray[Any]:
    sizes = sorted({image.shape for image in images})
    if len(sizes) != 1:
        listed = ", ".join(" x ".join(map(str, size)) for size in sizes[:4]) or "there are none"
        raise EvaluationError(f"{name} images have {len(sizes)} sizes ({listed}); prepare them at one resolution")
    return np.stack(images)
