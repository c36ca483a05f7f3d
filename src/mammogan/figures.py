"""Figures of the trials, the study and the report: arrays and frames in, PNG bytes out.

Matplotlib is imported inside the functions and used through its objects alone, never through pyplot, so no
global state changes and the functions are safe in threads. The PNGs hold no date and no version: the same
input gives the same bytes. Colours: Okabe and Ito, told apart by colour-blind readers too.
"""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FACTOR_NAMES = {"lr": "learning rate", "batch_size": "batch size", "epochs": "epochs"}

_GAP = 2  # px between tiles
_GAP_GREY = 128  # neither a mammogram's background nor its skin line, so that tiles are told apart
_PANEL_MIN, _PANEL_MAX = 800, 1600  # px: width of one panel of a side-by-side figure, where possible

_FONT = ImageFont.load_default(14)
_LINE, _MARGIN = 22, 12  # px: height of a line of text, room beside it
_LEAST = 0.01  # of a measure over its floor, on the log scale
_FRAMES = 40  # of an animation, at most
_QUALITIES = (75, 50, 25)  # of WebP, tried in this order

_WIDTH_IN = 7.0  # of a chart; at 150 dpi a little more than the report shows

_BLUE, _ORANGE, _GREEN, _GREY, _PALE = "#0072B2", "#D55E00", "#009E73", "#6E6E6E", "#A9CCE3"


def grid(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Tiles (N, H, W) laid out row by row -> one image (h, w), uint8, with 2 px of mid-grey between tiles.

    Cells of the last row without a tile stay black.

    Raises:
        ValueError: `images` is empty or not uint8 (N, H, W).
    """
    if images.ndim != 3 or images.dtype != np.uint8 or len(images) == 0:
        raise ValueError(f"a grid takes uint8 images (N, H, W), got {images.dtype} {images.shape}")
    return _sheet(images, columns, _GAP)


def shrunk(images: NDArray[np.uint8], at_most_px: int) -> NDArray[np.uint8]:
    """Tiles (N, H, W) averaged over blocks until they are at most `at_most_px` wide; small ones as they are."""
    return _rescale(images, 1, _block(images.shape[2], at_most_px))


def to_png(image: NDArray[np.uint8]) -> bytes:
    """A grey image (h, w), uint8, as PNG; the pixels are kept as they are."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def labelled(images: NDArray[np.uint8], rows: Sequence[str], columns: Sequence[str]) -> NDArray[np.uint8]:
    """Tiles (R, C, H, W) as a grid with a name beside each row and above each column -> one image (h, w), uint8.

    Without names of rows, or of columns, there is no margin for them.
    """
    sheet = grid(images.reshape(-1, *images.shape[2:]), images.shape[1])
    left = max((math.ceil(_FONT.getlength(name)) for name in rows), default=-_MARGIN) + _MARGIN
    top = _LINE if columns else 0
    page = Image.new("L", (left + sheet.shape[1], top + sheet.shape[0]), 255)
    page.paste(Image.fromarray(sheet), (left, top))
    pen = ImageDraw.Draw(page)
    height, width = images.shape[2] + _GAP, images.shape[3] + _GAP
    for row, name in enumerate(rows):
        pen.text((_MARGIN // 2, top + (row + 0.5) * height), name, 0, _FONT, anchor="lm")
    for column, name in enumerate(columns):
        pen.text((left + (column + 0.5) * width, top / 2), name, 0, _FONT, anchor="mm")
    return np.asarray(page)


def animation(frames: Sequence[NDArray[np.uint8]], captions: Sequence[str], at_most_bytes: int) -> bytes:
    """Grey frames (h, w), uint8, all of one size, as an endless animated WebP with a caption above each.

    Coded ever coarser, then with ever fewer frames, until it is small enough; first and last frame stay. The last one
    is held for two seconds.
    """
    pages = [_captioned(frame, caption) for frame, caption in zip(frames, captions, strict=True)]
    chosen = np.linspace(0, len(pages) - 1, min(len(pages), _FRAMES)).round().astype(int)
    while True:
        for quality in _QUALITIES:
            data = _webp([pages[index] for index in chosen], quality)
            if len(data) <= at_most_bytes or (len(chosen) <= 2 and quality == _QUALITIES[-1]):
                return data
        chosen = chosen[np.linspace(0, len(chosen) - 1, math.ceil(len(chosen) / 2)).round().astype(int)]


def spherical(start: NDArray[np.float32], end: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """Latents on the great circles from `start` to `end`, (N, z_dim) each -> (N, steps, z_dim), ends included.

    White, Sampling Generative Networks (2016), arXiv:1609.04468, section 2.1: a straight line would pass through
    latents shorter than a normal distribution draws.
    """
    t = np.linspace(0, 1, steps, dtype=np.float32)[None, :, None]
    lengths = np.linalg.norm(start, axis=1) * np.linalg.norm(end, axis=1)
    angle = np.arccos(np.clip((start * end).sum(1) / lengths, -1, 1))[:, None, None]
    if (np.sin(angle) < 1e-6).any():
        raise ValueError("latents on one line through the origin have no great circle of their own")
    path: NDArray[np.float32] = (np.sin((1 - t) * angle) * start[:, None] + np.sin(t * angle) * end[:, None]) / np.sin(
        angle
    )
    return path


def side_by_side(
    real: NDArray[np.uint8], synthetic: NDArray[np.uint8], columns: int, real_label: str = "real"
) -> bytes:
    """Real tiles (N, H, W) left, synthetic tiles (M, H, W) right, uint8, each with its label, as PNG.

    Small tiles are enlarged by a whole number without smoothing, so that each pixel stays visible; large ones
    are averaged over blocks. Both sides are treated alike.
    """
    enlargement, block = _display_scale(columns * max(real.shape[2], synthetic.shape[2]))
    tiles = {
        real_label: _rescale(real, enlargement, block),
        "synthetic": _rescale(synthetic, enlargement, block),
    }
    zoom = max(1, round(columns * tiles[real_label].shape[2] / _PANEL_MIN))  # of gaps and letters
    panels = {label: _sheet(images, columns, _GAP * zoom) for label, images in tiles.items()}
    between, heading = 32 * zoom, 44 * zoom
    width = sum(panel.shape[1] for panel in panels.values()) + between
    height = max(panel.shape[0] for panel in panels.values()) + heading

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    lefts = dict(zip(panels, (0, width - panels["synthetic"].shape[1]), strict=True))
    for label, left in lefts.items():
        centre = (left + panels[label].shape[1] / 2) / width
        figure.text(centre, 1 - heading / 2 / height, label, ha="center", va="center", fontsize=20 * zoom)
    canvas.draw()  # type: ignore[no-untyped-call]
    page = np.array(canvas.buffer_rgba())[..., 0]  # type: ignore[no-untyped-call]  # all is grey: one channel
    for label, left in lefts.items():
        panel = panels[label]
        page[heading : heading + panel.shape[0], left : left + panel.shape[1]] = panel
    return to_png(page)


def loss_curves(history: pd.DataFrame) -> bytes:
    """Losses and mean D outputs over training -> PNG.

    Columns: n_images, loss/G, loss/D, logits/real, logits/fake; a column may have gaps.
    Pale lines are the logged values, strong ones their running mean.
    """
    figure = new_figure(_WIDTH_IN, 5)
    losses, logits = figure.subplots(2, 1, sharex=True)
    history = history.sort_values("n_images")
    _curve(losses, history, "loss/G", "loss of G", _ORANGE)
    _curve(losses, history, "loss/D", "loss of D", _BLUE)
    losses.axhline(math.log(4), color=_GREY, linestyle=":", linewidth=1.2, label="loss of an undecided D (log 4)")
    losses.set_ylabel("loss (nats)")
    _curve(logits, history, "logits/real", "real images", _GREEN)
    _curve(logits, history, "logits/fake", "synthetic images", _ORANGE)
    logits.axhline(0, color=_GREY, linestyle=":", linewidth=1.2, label="undecided (0)")
    logits.set_ylabel("mean output of D (logits)")
    logits.set_xlabel("real images shown")
    _thousands(logits)
    for axes in (losses, logits):
        plain_axes(axes)
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure_png(figure)


def trial_bars(trials: pd.DataFrame) -> bytes:
    """FID of each row of the array, with the real-vs-real floor: columns row, fid, floor, ... -> PNG.

    With fid_at_floor_n and floor_n, diamonds show the FID at the N of the floor: only they can be held
    against the dashed line, since FID falls with N. Collapsed rows are hatched and named.
    """
    trials = trials.sort_values("row")
    rows = trials["row"].to_numpy(int)
    fid = trials["fid"].to_numpy(float)
    collapsed = _flags(trials, "collapsed")
    figure = new_figure(_WIDTH_IN, 3.4)
    axes = figure.subplots()
    best = np.nanmin(fid) if np.isfinite(fid).any() else math.nan
    colours = [_BLUE if value == best else _PALE for value in fid]
    bars = axes.bar(rows, np.nan_to_num(fid), width=0.62, color=colours, edgecolor=_BLUE, label="FID")
    handles: list[Any] = [bars]
    top = np.fmax(fid, trials["fid_at_floor_n"].to_numpy(float)) if "fid_at_floor_n" in trials else fid
    for bar, row, value, height, hatched in zip(bars, rows, fid, top, collapsed, strict=True):
        if hatched:
            bar.set_hatch("///")
        text = f"{value:.3g}" + ("\ncollapsed" if hatched else "") if np.isfinite(value) else "no FID"
        axes.annotate(text, (row, np.nan_to_num(height)), (0, 6), textcoords="offset points", ha="center", fontsize=9)
    if "fid_at_floor_n" in trials:
        label = f"FID at N = {trials['floor_n'].max():,.0f}" if "floor_n" in trials else "FID at the floor's N"
        diamonds = axes.scatter(rows, trials["fid_at_floor_n"], marker="D", s=34, color=_ORANGE, zorder=3)
        diamonds.set_label(label)
        handles.append(diamonds)
    if "floor" in trials and trials["floor"].notna().any():
        floor = float(trials["floor"].median())
        label = f"real v real: {floor:.3g}" + (f" at N = {trials['floor_n'].max():,.0f}" if "floor_n" in trials else "")
        handles.append(axes.axhline(floor, color=_ORANGE, linestyle="--", linewidth=1.4, label=label))
    axes.set_xticks(rows)
    axes.set_xlabel("row of the array")
    axes.set_ylabel("FID (smaller is better)")
    axes.margins(y=0.16)
    plain_axes(axes)
    axes.legend(handles=handles, frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure_png(figure)


def fid_progress(progress: pd.DataFrame) -> bytes:
    """FID of each row while it trains, on a log scale: columns row, n_images, fid -> PNG.

    The row that ends lowest is drawn strong.
    """
    figure = new_figure(_WIDTH_IN, 3.6)
    axes = figure.subplots()
    lines = {
        int(row): progress[progress["row"] == row].sort_values("n_images") for row in sorted(progress["row"].unique())
    }
    best = min(lines, key=lambda row: float(lines[row]["fid"].iloc[-1]))
    for row, line in lines.items():
        strong = row == best
        axes.plot(
            line["n_images"],
            line["fid"],
            color=_BLUE if strong else "#9A9A9A",
            linewidth=2.2 if strong else 1.0,
            marker="o",
            markersize=4 if strong else 2.5,
            zorder=3 if strong else 2,
        )
    ends = {row: (int(line["n_images"].iloc[-1]), float(line["fid"].iloc[-1])) for row, line in lines.items()}
    near = 0.04 * math.log(float(progress["fid"].max() / progress["fid"].min()))
    for rows in _neighbours(ends, near):
        axes.annotate(
            ("row " if len(rows) == 1 else "rows ") + ", ".join(map(str, rows)),
            (ends[rows[0]][0], math.prod(ends[row][1] for row in rows) ** (1 / len(rows))),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=_BLUE if best in rows else _GREY,
        )
    axes.set_yscale("log")
    axes.set_xlabel("real images shown")
    axes.set_ylabel("FID (smaller is better)")
    axes.margins(x=0.08)
    _thousands(axes)
    _plain_log(axes)
    plain_axes(axes)
    return figure_png(figure)


def measures(found: pd.DataFrame) -> bytes:
    """Each measure of an assessment over that of real images against real ones: the frame of `assessment` -> PNG.

    Columns: name, value, better, floor, floor_sd, at_floor_n. A measure whose floor is about 0 has no such ratio; one
    below 0.01 is drawn there.
    """
    value = found["at_floor_n"].fillna(found["value"])
    shown = found.assign(over=value / found["floor"])[found["floor"].abs() > 2 * found["floor_sd"]]
    shown = shown.assign(over=shown["over"].clip(lower=_LEAST)).iloc[::-1]
    figure = new_figure(_WIDTH_IN, 1.2 + 0.24 * len(shown))
    axes = figure.subplots()
    colours = shown["better"].map({"lower": _ORANGE, "higher": _GREEN, "near_floor": _BLUE})
    y = np.arange(len(shown))
    axes.hlines(y, 1, shown["over"], color=colours, linewidth=1.2)
    axes.scatter(shown["over"], y, color=colours, s=34, zorder=3)
    axes.axvline(1, color=_GREY, linestyle="--", linewidth=1.2)
    axes.set_yticks(y, [name.replace("_", " ") for name in shown["name"]])
    axes.set_xscale("log")
    axes.set_xlabel("over the same measure of real images against real ones (1: like real)")
    axes.xaxis.set_major_formatter(lambda at, _: f"{at:,g}")
    axes.xaxis.set_minor_formatter(lambda at, _: "")
    plain_axes(axes)
    return figure_png(figure)


def spectra(means: pd.DataFrame) -> bytes:
    """Mean radial power spectra of real and synthetic images: columns frequency, real, synthetic (log10) -> PNG."""
    figure = new_figure(_WIDTH_IN, 3.2)
    axes = figure.subplots()
    shown = means[means["frequency"] > 0]
    for name, colour in (("real", _GREEN), ("synthetic", _ORANGE)):
        axes.plot(shown["frequency"], shown[name], color=colour, linewidth=1.6, label=f"{name} images")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda at, _: f"{at:,g}")
    axes.set_xlabel("spatial frequency, cycles an image, up to the corner")
    axes.set_ylabel("mean power, log10")
    plain_axes(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure_png(figure)


def factor_name(factor: str) -> str:
    """The factor in words: `lr` -> `learning rate`."""
    return FACTOR_NAMES.get(factor, factor.replace("_", " "))


def level_name(value: Any) -> str:
    """The level of a factor: numbers short, with thousands apart; text as it is."""
    return value if isinstance(value, str) else f"{value:,.10g}"


def _neighbours(ends: dict[int, tuple[int, float]], near: float) -> list[list[int]]:
    """Rows whose lines end too close to each other, in log FID, for a label each."""
    groups: list[list[int]] = []
    for row, (n_images, fid) in sorted(ends.items(), key=lambda item: item[1]):
        last = ends[groups[-1][-1]] if groups else None
        if last and last[0] == n_images and math.log(fid / last[1]) < near:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _display_scale(width: int) -> tuple[int, int]:
    """Whole factors (enlargement, averaging block) for a panel `width` px wide; one of the two is 1."""
    block = _block(width, _PANEL_MAX)
    return (max(1, round(_PANEL_MIN / width)), 1) if block == 1 else (1, block)


def _captioned(frame: NDArray[np.uint8], caption: str) -> Image.Image:
    page = Image.new("L", (frame.shape[1], frame.shape[0] + _LINE), 255)
    page.paste(Image.fromarray(frame), (0, _LINE))
    ImageDraw.Draw(page).text((_MARGIN // 2, _LINE / 2), caption, 0, _FONT, anchor="lm")
    return page


def _webp(pages: Sequence[Image.Image], quality: int) -> bytes:
    buffer = io.BytesIO()
    durations = [max(100, min(500, 8000 // len(pages)))] * (len(pages) - 1) + [2000]  # ms
    rest = {"save_all": True, "append_images": pages[1:], "duration": durations, "loop": 0}
    pages[0].save(buffer, format="webp", quality=quality, method=2, allow_mixed=False, **rest)
    return buffer.getvalue()


def _block(width: int, at_most: int) -> int:
    """The smallest power of two that brings `width` px down to at most `at_most`."""
    block = 1
    while width / block > at_most:
        block *= 2
    return block


def _sheet(images: NDArray[np.uint8], columns: int, gap: int) -> NDArray[np.uint8]:
    n, height, width = images.shape
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    cells = np.zeros((rows * columns, height + gap, width + gap), np.uint8)
    cells[:, height:] = cells[:, :, width:] = _GAP_GREY
    cells[:n, :height, :width] = images
    sheet = cells.reshape(rows, columns, height + gap, width + gap).transpose(0, 2, 1, 3)
    return sheet.reshape(rows * (height + gap), columns * (width + gap))[:-gap, :-gap]


def _rescale(images: NDArray[np.uint8], scale: int, block: int) -> NDArray[np.uint8]:
    n, height, width = images.shape
    if block > 1:
        height, width = height // block, width // block
        blocks = images[:, : height * block, : width * block].reshape(n, height, block, width, block)
        images = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty white figure that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def figure_png(figure: "Figure") -> bytes:
    """The figure as PNG, the same bytes on every run."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # else it names the version
    return buffer.getvalue()


def _curve(axes: "Axes", history: pd.DataFrame, name: str, label: str, colour: str) -> None:
    part = history[["n_images", name]].dropna()
    x, y = part["n_images"], part[name]
    window = max(1, len(y) // 40)
    if window > 1:
        axes.plot(x, y, color=colour, alpha=0.25, linewidth=0.8)
    smooth = y.rolling(window, center=True, min_periods=1).mean()
    axes.plot(x, smooth, color=colour, linewidth=1.6, label=label, marker="o" if len(y) == 1 else None)


def _flags(frame: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """A column of true and false that may be missing or have gaps -> (rows,)."""
    if column not in frame:
        return np.zeros(len(frame), bool)
    return frame[column].eq(True).to_numpy(bool)


def _thousands(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _plain_log(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def plain_axes(axes: "Axes") -> None:
    """Two sides and pale horizontal lines."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    style: dict[str, Any] = {"axis": "y", "color": "#E3E3E3", "linewidth": 0.7}
    axes.grid(visible=True, **style)
    axes.set_axisbelow(True)
