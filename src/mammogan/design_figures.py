"""Figures of a designed experiment: frames of `design.analysis` in, PNG bytes out, the same for the same input.

Matplotlib is imported inside the functions and used through its objects alone, as in `figures`. Colours: Okabe and
Ito, told apart by colour-blind readers too; shapes and lines tell them apart as well.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mammogan.figures import factor_name, figure_png, level_name, new_figure, plain_axes

if TYPE_CHECKING:
    pass

_WIDTH_IN = 7.0
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
_LINES = [(_BLUE, "o", "-"), (_ORANGE, "s", "--"), (_GREEN, "^", ":"), ("#CC79A7", "D", "-."), (_GREY, "v", "-")]


def effects(frame: pd.DataFrame, title: str = "") -> bytes:
    """Mean S/N ratio of each level with its 95 % interval, where there is one: the frame of `main_effects` -> PNG.

    The dotted line is the mean of all rows. Factors that are one column share a panel. A filled marker is the level
    with the best mean.
    """
    panels = _panels(frame)
    figure = new_figure(_WIDTH_IN, 3.1)
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    grand = np.average(frame["sn_db"], weights=frame["n"])
    for axes, (name, labels, levels) in zip(row, panels, strict=True):
        x, y = np.arange(len(levels)), levels["sn_db"].to_numpy(float)
        best = levels["best"].astype(bool).to_numpy()
        half = (levels["high"] - levels["sn_db"]).fillna(0).to_numpy(float)
        axes.errorbar(x, y, yerr=half, color=_BLUE, ecolor=_GREY, elinewidth=1.2, capsize=5, linewidth=1.5, zorder=2)
        axes.scatter(x, y, s=42, facecolors="white", edgecolors=_BLUE, linewidths=1.5, zorder=3)
        axes.scatter(x[best], y[best], s=64, color=_BLUE, zorder=4)
        axes.axhline(grand, color=_GREY, linestyle=":", linewidth=1.0)
        axes.set_xticks(x, labels)
        axes.set_xlabel(name)
        axes.margins(x=0.2, y=0.1)
        plain_axes(axes)
    row[0].set_ylabel("S/N in dB (larger is better)")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure_png(figure)


def interactions(cells: pd.DataFrame, a: str, b: str) -> bytes:
    """Mean S/N ratio of each combination of two factors: the frame of `interaction_effects` -> PNG.

    One line a level of `b`. Lines that run side by side show no interaction.
    """
    figure = new_figure(_WIDTH_IN, 3.3)
    axes = figure.subplots()
    along = list(dict.fromkeys(cells["a"]))
    for number, (level, line) in enumerate(cells.groupby("b", sort=False)):
        colour, marker, style = _LINES[number % len(_LINES)]
        x, label = [along.index(value) for value in line["a"]], level_name(level)
        axes.plot(x, line["sn_db"], color=colour, marker=marker, linestyle=style, label=label)
    axes.set_xticks(range(len(along)), [level_name(value) for value in along])
    axes.set_xlabel(factor_name(a))
    axes.set_ylabel("S/N in dB (larger is better)")
    axes.margins(x=0.15, y=0.1)
    plain_axes(axes)
    legend = axes.legend(
        title=factor_name(b),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
    )
    legend.set_alignment("left")
    return figure_png(figure)


def half_normal(frame: pd.DataFrame, margin: float) -> bytes:
    """Sizes of the contrasts against half-normal quantiles: the frame of `contrast_table` -> PNG.

    Contrasts of chance lie on a line through the origin. The dashed line is Lenth's simultaneous margin of error,
    `margin`; what is beyond it has a filled marker, and a name whatever its size.
    """
    figure = new_figure(_WIDTH_IN, 3.6)
    axes = figure.subplots()
    sizes, quantiles = frame["contrast"].abs().to_numpy(float), frame["quantile"].to_numpy(float)
    out = frame["stands_out"].astype(bool).to_numpy()
    axes.scatter(sizes[~out], quantiles[~out], s=36, facecolors="white", edgecolors=_BLUE, linewidths=1.4, zorder=3)
    axes.scatter(sizes[out], quantiles[out], s=48, color=_ORANGE, zorder=3)
    edge = 1.05 * max(sizes.max(), margin) or 1.0
    for number, name in enumerate(frame["name"]):
        if out[number] or number >= len(frame) - 4:
            left = sizes[number] > 0.4 * edge
            axes.annotate(
                _contrast_name(str(name)),
                (sizes[number], quantiles[number]),
                (-7 if left else 7, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=8,
            )
    axes.axvline(margin, color=_GREY, linestyle="--", linewidth=1.2, label=f"Lenth's margin, {margin:.3g} dB")
    axes.set_xlim(0, edge)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("size of the contrast in dB")
    axes.set_ylabel("half-normal quantile")
    plain_axes(axes)
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1))
    return figure_png(figure)


def _panels(frame: pd.DataFrame) -> list[tuple[str, list[str], pd.DataFrame]]:
    """Name, tick labels and levels of each panel; factors that are one column stand together."""
    by_factor = {str(name): lines.sort_values("level") for name, lines in frame.groupby("factor", sort=False)}
    panels, done = [], set[str]()
    for name, levels in by_factor.items():
        if name in done:
            continue
        aliased = str(levels["aliased_with"].fillna("").iloc[0]) if "aliased_with" in levels else ""
        together = [name, *(other for other in aliased.split(", ") if other in by_factor)]
        done |= set(together)
        columns = [[level_name(value) for value in by_factor[other]["value"]] for other in together]
        labels = ["\n".join(values) for values in zip(*columns, strict=True)]
        panels.append((" and\n".join(factor_name(other) for other in together), labels, levels))
    return panels


def _contrast_name(name: str) -> str:
    """`lr linear x a = b quadratic` -> `learning rate linear` and on a second line `x a = b quadratic`."""
    return "\nx ".join(" = ".join(map(_words, side.split(" = "))) for side in name.split(" x "))


def _words(contrast: str) -> str:
    factor, _, kind = contrast.partition(" ")
    return f"{factor_name(factor)} {kind}".strip()
