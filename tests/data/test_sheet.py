"""The contact sheet of raw images beside their tiles."""

import numpy as np
import pytest

from mammogan.data.outline import Box
from mammogan.data.sheet import BeforeAfter, before_and_after


def pair(shade: int = 90, dtype: type = np.uint8, caption: str = "L MLO 12-bit") -> BeforeAfter:
    tile = np.full((64, 64), shade * (257 if dtype is np.uint16 else 1), dtype=dtype)
    return BeforeAfter(np.full((300, 200), 0.25, np.float32), Box(30, 40, 150, 100), tile, caption)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 24])
def test_the_sheet_holds_every_pair(count):
    sheet = before_and_after([pair(90 + k) for k in range(count)], side=100)
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3
    shades = set(np.unique(sheet[..., 1]))
    assert {90 + k for k in range(count)} <= shades


def test_a_tile_looks_the_same_in_8_and_16_bits():
    np.testing.assert_array_equal(before_and_after([pair()]), before_and_after([pair(dtype=np.uint16)]))


def test_the_crop_is_outlined_where_it_lies():
    sheet = before_and_after([pair()], side=150).astype(int)
    outline = np.argwhere((sheet[..., 0] > 200) & (sheet[..., 2] < 100))
    height, width = np.ptp(outline, axis=0) + 1
    assert (height, width) == (75, 50)  # 150 x 100 px at half size
    assert outline.min(axis=0).tolist() == [16 + 15, 16 + 25 + 20]  # the paper's margin, the black beside, the box


def test_the_caption_stands_below():
    silent, named = before_and_after([pair(caption="")]), before_and_after([pair()])
    rows = np.flatnonzero((silent != named).any(axis=(1, 2)))
    assert rows.min() > 200
    assert len(rows) >= 8


def test_a_long_caption_stays_within_its_pair():
    long = pair(caption="L CC\n" + "12-bit MONOCHROME1, SIGMOID window 2625/2502, inverted, " * 3)
    short = pair(caption="L CC")
    sheet, alone = (before_and_after(pairs, columns=2) for pairs in ([long, short], [short, short]))
    middle = sheet.shape[1] // 2
    np.testing.assert_array_equal(sheet[:, middle:], alone[:, middle:])
