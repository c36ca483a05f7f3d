"""A contact sheet of raw mammograms beside the tiles that were cut from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mammogan.data.area import FloatImage, area_mean
from mammogan.data.outline import Box

_GAP = 16  # all lengths are pixels
_LINE = 20  # a caption's line
_FONT = 14
_PAPER, _INK, _FAINT, _CUT = (250, 250, 250), (28, 28, 28), (110, 110, 110), (255, 176, 32)
_BESIDE = (52, 52, 56)  # around a raw image, so that its own black border shows


@dataclass(frozen=True)
class BeforeAfter:
    """A raw image and its tile. The caption's second line, if any, is smaller print."""

    raw: FloatImage  # (H, W) in [0, 1]; may be decoded at reduced resolution
    box: Box  # the crop, in pixels of `raw`
    tile: NDArray[np.uint8] | NDArray[np.uint16]  # (S, S)
    caption: str  # such as "L MLO 12-bit"


def before_and_after(pairs: Sequence[BeforeAfter], columns: int = 4, side: int = 200) -> NDArray[np.uint8]:
    """A contact sheet, uint8 (height, width, 3): each raw image with its crop outlined, and its tile beside it.

    `columns` pairs stand in a row; both images of a pair fit into a square of `side` pixels.
    """
    columns = max(1, min(columns, len(pairs)))
    rows = -(-len(pairs) // columns)
    width, height = 2 * side + 2, side + 2 * _LINE
    paper = (_GAP + columns * (width + _GAP), _GAP + rows * (height + _GAP))
    sheet = Image.new("RGB", paper, _PAPER)
    for k, pair in enumerate(pairs):
        left, top = _GAP + k % columns * (width + _GAP), _GAP + k // columns * (height + _GAP)
        _draw(sheet, pair, left, top, side)
    return np.asarray(sheet)


def _draw(sheet: Image.Image, pair: BeforeAfter, left: int, top: int, side: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + side - 1, top + side - 1), fill=_BESIDE)

    height, width = pair.raw.shape
    shrunk = min(1.0, side / max(height, width))
    small = area_mean(pair.raw, max(1, round(shrunk * height)), max(1, round(shrunk * width)))
    x, y = left + (side - small.shape[1]) // 2, top + (side - small.shape[0]) // 2
    sheet.paste(_grey(small), (x, y))
    box = pair.box
    ends = (
        x + round(shrunk * box.left),
        y + round(shrunk * box.top),
        x + round(shrunk * (box.left + box.width)) - 1,
        y + round(shrunk * (box.top + box.height)) - 1,
    )
    draw.rectangle(ends, outline=_CUT)

    tile: FloatImage = pair.tile.astype(np.float32) / np.float32(np.iinfo(pair.tile.dtype).max)
    if len(tile) > side:
        tile = area_mean(tile, side, side)
    sheet.paste(_grey(tile).resize((side, side), Image.Resampling.NEAREST), (left + side + 2, top))

    for line, (text, ink) in enumerate(zip(pair.caption.split("\n")[:2], (_INK, _FAINT), strict=False)):
        shown = _fitting(text, 2 * side)
        draw.text((left, top + side + 4 + line * (_LINE - 2)), shown, fill=ink, font=ImageFont.load_default(_FONT))


def _fitting(text: str, width: int) -> str:
    """`text`, or as much of its beginning as fits into `width` pixels."""
    font = ImageFont.load_default(_FONT)
    if font.getlength(text) <= width:
        return text
    while font.getlength(f"{text} …") > width:
        text = text[:-1]
    return f"{text} …"


def _grey(image: FloatImage) -> Image.Image:
    return Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)).convert("RGB")
