"""Stored grey levels to brightness: modality LUT, VOI LUT or window, inversion, padding (DICOM PS3.4 N.2).

Every step is a function of the stored level alone, so it is worked out once for each of the 2**8 or 2**16 levels
that the pixels can hold, in float64, and the pixels are looked up at the end.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from mammogan.data.raw import damage
from mammogan.errors import DataError

BLOCK = 2**20  # pixels that are worked on at a time, so that copies stay small

Levels = NDArray[np.float64]
Counts = NDArray[np.intp]
Count = Callable[[], Counts]  # pixels of each level; counting them costs as much as looking them up

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_STRIDE = 16  # px between the pixels by which a window is judged
_CONTRAST = 0.01  # brightness; a window that leaves less is at fault
_RIM = 0.02  # share of the range between the padding and the dimmest tissue


@dataclass(frozen=True)
class Grey:
    """Brightness as float32 (H, W) in [0, 1], the window that led to it, and each step in words."""

    image: NDArray[np.float32]
    window: str
    steps: tuple[str, ...]


def to_grey(header: Dataset, stored: NDArray[Any]) -> Grey:
    """Stored pixels (H, W), 8 or 16 bits, to brightness, bright = dense tissue.

    Raises:
        DataError: the header contradicts itself or leads to values that are not finite.
    """
    with damage("unreadable: contradictory DICOM header"):  # pydicom parses an element when it is asked for
        table, window, steps = _table(header, stored)
    return Grey(through(table.astype(np.float32), stored), window, steps)


def levels_of(dtype: np.dtype[Any]) -> Levels:
    """Every value that an integer of `dtype` (8 or 16 bits) can hold, at the index of its bit pattern."""
    return np.arange(2 ** (8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").view(dtype).astype(np.float64)


def through(table: NDArray[np.float32], stored: NDArray[Any]) -> NDArray[np.float32]:
    """`stored` (H, W) of 8 or 16 bits looked up in `table`, by bit pattern."""
    bits = stored.view(f"u{stored.itemsize}")
    looked_up = np.empty(stored.shape, dtype=np.float32)
    for rows in _blocks(stored):  # NumPy makes an index of 8 bytes of each pixel
        looked_up[rows] = table.take(bits[rows])
    return looked_up


def count_levels(stored: NDArray[Any]) -> Counts:
    """How many pixels of `stored` (H, W) of 8 or 16 bits have each level, by bit pattern."""
    bits = stored.view(f"u{stored.itemsize}")
    counts = np.zeros(2 ** (8 * stored.itemsize), dtype=np.intp)
    for rows in _blocks(stored):
        counts += np.bincount(bits[rows].ravel(), minlength=len(counts))
    return counts


def _blocks(stored: NDArray[Any]) -> Iterator[slice]:
    rows = max(1, BLOCK // stored.shape[1])
    return (slice(top, top + rows) for top in range(0, len(stored), rows))


def robust_range(levels: NDArray[Any], counts: Counts) -> tuple[float, float]:
    """The minimum and maximum of pixels of which `counts` have each of `levels`, save outliers.

    An outlier (a hot pixel, a burnt-in mark) lies further outside the 0.1st or 99.9th percentile than a
    quarter of the distance between the two, so that in an ordinary image nothing is clipped.
    """
    present = counts > 0
    values, counts = levels[present], counts[present]
    order = np.argsort(values)
    values, upto = values[order], np.cumsum(counts[order])

    def percentile(q: float) -> float:  # linear between the two nearest ranks, as numpy's
        rank = q / 100 * (upto[-1] - 1)
        below, above = values[np.searchsorted(upto, (math.floor(rank), math.ceil(rank)), side="right")]
        return float(below + (above - below) * (rank - math.floor(rank)))

    low, high = percentile(0.1), percentile(99.9)
    return _with_reach(low, high, float(values[0]), float(values[-1]))


def robust_range_of_sorted(values: NDArray[np.float32]) -> tuple[float, float]:
    """As `robust_range`, of values in ascending order."""

    def percentile(q: float) -> float:
        rank = q / 100 * (len(values) - 1)
        below, above = float(values[math.floor(rank)]), float(values[math.ceil(rank)])
        return below + (above - below) * (rank - math.floor(rank))

    return _with_reach(percentile(0.1), percentile(99.9), float(values[0]), float(values[-1]))


def _with_reach(low: float, high: float, first: float, last: float) -> tuple[float, float]:
    reach = (high - low) / 4
    return max(first, low - reach), min(last, high + reach)


def window(values: NDArray[Any], center: float, width: float, function: str) -> Levels:
    """Values through a DICOM window, to [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Raises:
        ValueError: `function` is none of LINEAR, LINEAR_EXACT, SIGMOID.
    """
    x = values.astype(np.float64)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp overflows to inf and the quotient to 0, as it should
            return np.asarray(1 / (1 + np.exp(-4 * (x - center) / width)))
    if function == "LINEAR_EXACT":
        return stretch(x, center - width / 2, center + width / 2)
    if function == "LINEAR":
        return stretch(x, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)
    raise ValueError("unknown VOI LUT function")


def stretch(values: NDArray[Any], low: float, high: float) -> Levels:
    """Values from [low, high] to [0, 1], clipped; a step where the two are equal."""
    if math.isclose(low, high):
        return (values > low).astype(np.float64)
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)


def _table(header: Dataset, stored: NDArray[Any]) -> tuple[Levels, str, tuple[str, ...]]:
    levels = levels_of(stored.dtype)
    bits = stored.view(f"u{stored.itemsize}")

    @cache
    def count() -> Counts:
        return count_levels(stored)

    padding = _padding(header, levels)
    sample = np.unique(bits[::_STRIDE, ::_STRIDE])
    values = _rescale(header, levels)
    if not np.isfinite(values).all():
        raise DataError("unreadable: rescale gives values that are not finite")
    table, shown, step = _values_of_interest(header, values, padding, count, sample)
    if not np.isfinite(table).all():
        raise DataError("unreadable: window gives values that are not finite")
    steps = [f"{int(header.BitsStored)}-bit {header.PhotometricInterpretation}", step]
    if header.PhotometricInterpretation == "MONOCHROME1":
        table = 1 - table
        steps.append("inverted")
    if padding is not None:
        only = np.flatnonzero(padding)
        if len(only) == 1:
            present = padding if (bits == only[0]).any() else np.zeros_like(padding)
        else:
            present = padding & (count() > 0)
        if present.any():
            table, step = _blacken(table, padding, present)
            steps.append(step)
    return table, shown, tuple(steps)


def _padding(header: Dataset, levels: Levels) -> NDArray[np.bool_] | None:
    """Which of `levels` are padding, in stored values (PS3.3 C.7.5.1.1.2); None without one."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    limit = header.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return np.asarray((levels >= low) & (levels <= high))


def _rescale(header: Dataset, levels: Levels) -> Levels:
    if header.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(levels.astype(np.int32), header), dtype=np.float64)
    slope, intercept = _first(header.get("RescaleSlope")), _first(header.get("RescaleIntercept"))
    if slope == 0:
        raise DataError("unreadable: contradictory DICOM header: (0028,1053) is 0, which makes all pixels the same")
    return levels * (1 if slope is None else slope) + (0 if intercept is None else intercept)


def _values_of_interest(
    header: Dataset, values: Levels, padding: NDArray[np.bool_] | None, count: Count, sample: NDArray[Any]
) -> tuple[Levels, str, str]:
    """The first VOI LUT, else the first window, else the range without padding: each level in [0, 1].

    A table or a window that makes all levels of the `sample` (their bit patterns) alike, or cannot be read, is passed
    over.
    """
    unusable = ""
    if header.get("VOILUTSequence"):
        try:
            table = _voi_lut(header, values, count())
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error):  # a common fault of exports
            unusable = "VOI LUT unusable, "
        else:
            if _has_contrast(table[sample]):
                return table, "VOI LUT", "VOI LUT"
            unusable = "VOI LUT unusable, "
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function not in _FUNCTIONS:
        raise DataError(f"unreadable: contradictory DICOM header: (0028,1056) is none of {', '.join(_FUNCTIONS)}")
    if center is not None and width is not None and width >= (1 if function == "LINEAR" else 1e-6):
        pair = f"{center:g}/{width:g}"
        table = window(values, center, width, function)
        if _has_contrast(table[sample]):
            return table, f"{function} {pair}", f"{unusable}{function} window {pair}"
        unusable += f"window {pair} unusable, "
    counts = count()
    if padding is not None and counts[~padding].any():
        counts = np.where(padding, 0, counts)
    low, high = robust_range(values, counts)
    if padding is not None:
        low, high = _above_the_padding(low, high, values[padding], header.PhotometricInterpretation == "MONOCHROME1")
    shown = f"range {low:g} to {high:g}"
    return stretch(values, low, high), shown, f"{unusable or 'no window, '}{shown}"


def _has_contrast(table: Levels) -> bool:
    """Whether a window tells the levels of an image apart; one level alone tells nothing of it, nor does NaN."""
    return len(table) == 1 or not np.ptp(table) < _CONTRAST


def _above_the_padding(low: float, high: float, padding: Levels, inverted: bool) -> tuple[float, float]:
    """The range, widened at its dark end, so that the dimmest tissue is brighter than the `padding` beyond it."""
    margin = _RIM * (high - low)
    if inverted and padding.min() > high:
        return low, min(high + margin, float(padding.min()))
    if not inverted and padding.max() < low:
        return max(low - margin, float(padding.max())), high
    return low, high


def _voi_lut(header: Dataset, values: Levels, counts: Counts) -> Levels:
    looked_up = apply_voi(np.rint(values).astype(np.int32), header, index=0).astype(np.float64)
    declared = 2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1
    # tables that declare 16 bits and hold 12 are common; the nominal maximum would leave them all but black
    top = int(looked_up[counts > 0].max())
    return np.clip(looked_up / (declared if declared < 2 * top else max(top, 1)), 0, 1)


def _blacken(table: Levels, padding: NDArray[np.bool_], present: NDArray[np.bool_]) -> tuple[Levels, str]:
    """`table` with black `padding`, of whose levels the image has those `present`.

    A SIGMOID window never reaches black, so the background that the padding stands for stays grey; it is then
    taken off the whole image, for pixels just beside the padding would keep it. Padding that came out bright
    is overwritten.
    """
    level = float(table[present].max())
    if level < 0.25:
        return np.clip((table - level) / (1 - level), 0, 1), (
            f"background {level:.3f} taken off" if level > 0 else "padding black"
        )
    return np.where(padding, 0, table), "padding overwritten"


def _first(value: Any) -> float | None:
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value is None or value == "" else float(value)
