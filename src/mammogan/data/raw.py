"""What every reader of raw images promises: a checked header first, pixels on demand."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mammogan.errors import DataError

MAX_PIXELS = 2**26  # 67 megapixels, twice the largest mammogram met; above it a header is taken for damaged

_OF_THE_FILE = frozenset({errno.EINVAL, errno.EOVERFLOW})  # a damaged offset leads outside the file


class UnreadError(DataError):
    """A fault of the machine, not of the file: no permission, a broken disk; not to be remembered."""


@dataclass(frozen=True)
class Pixels:
    """An image as float32 (H, W) in [0, 1], bright = dense tissue, and how it was reached.

    Attributes:
        how: bits, photometric interpretation, decoding and window, readable.
        window: such as `SIGMOID 2303/3142`, `VOI LUT`, `range 12 to 3800`; `none` where the file's own scale holds.
        inverted: whether the file stores dense tissue dark (MONOCHROME1).
        reduction: stored pixels, along a side, to one pixel of `image`.
    """

    image: NDArray[np.float32]
    how: str
    window: str = "none"
    inverted: bool = False
    reduction: int = 1


class Raw(Protocol):
    """A raw image whose header is read and checked; nothing is decoded before `read`.

    Attributes:
        height, width: full size in pixels.
        spacing_mm: side of a full-size pixel, None where the file does not tell.
        reductions: the factors at which `read` decodes, 1 first.
    """

    @property
    def height(self) -> int: ...  # noqa: D102

    @property
    def width(self) -> int: ...  # noqa: D102

    @property
    def spacing_mm(self) -> float | None: ...  # noqa: D102

    @property
    def reductions(self) -> tuple[int, ...]: ...  # noqa: D102

    def read(self, reduction: int = 1) -> Pixels:
        """The pixels, (ceil(height / reduction), ceil(width / reduction)).

        Raises:
            DataError: the pixels are truncated or damaged, or contradict the header.
        """
        ...


@contextmanager
def located(path: Path) -> Iterator[None]:
    """Put `path` before the message of a DataError, and make the system's own errors one."""
    try:
        yield
    except DataError as err:
        raise type(err)(f"{path}: {err}") from None
    except OSError as err:
        raise UnreadError(f"{path}: {unread(err)}") from None


@contextmanager
def damage(reason: str) -> Iterator[None]:
    """Whatever a decoder raises on damaged input as a DataError of this `reason`; a DataError passes.

    What the machine is to blame for is told apart: MemoryError passes, a system's error becomes `UnreadError`.

    Raises:
        UnreadError: the system failed to open or read the file.
        DataError: anything else was raised.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as err:
        if isinstance(err, OSError) and err.errno is not None and err.errno not in _OF_THE_FILE:
            raise UnreadError(unread(err)) from None
        raise DataError(f"{reason} ({type(err).__name__})") from None


def unread(err: OSError) -> str:
    """The reason for which the system failed to read a file."""
    return f"cannot be read: check the file's permissions and the disk ({type(err).__name__})"


def check_size(height: int, width: int) -> None:
    """Refuse what no mammogram measures, before any memory is asked for.

    Raises:
        DataError: a side is not positive, or the image has more than `MAX_PIXELS`.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DataError("unreadable: its header claims an absurd size")


def check_reduction(reduction: int, reductions: tuple[int, ...]) -> None:
    """Refuse a factor that is not offered.

    Raises:
        ValueError: `reduction` is none of `reductions`.
    """
    if reduction not in reductions:
        raise ValueError(f"reduction {reduction} is none of {reductions}")
