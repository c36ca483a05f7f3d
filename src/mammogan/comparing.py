"""Two sources of synthetic images side by side: every measure with its interval, and what differs beyond noise."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mammogan.assessing import Real, copies_of, measure
from mammogan.config import AssessConfig, EvaluateConfig
from mammogan.errors import EvaluationError
from mammogan.evaluation.copies import Copies
from mammogan.evaluation.measures import Measure
from mammogan.evaluation.paired import holm
from mammogan.sources import Source

SURE = 0.05  # of all differences together, after Holm's correction

_FEWEST = 16  # images of a draw


@dataclass(frozen=True)
class Difference:
    """One measure of both sides.

    Attributes:
        p: chance of such a difference between equal sources, corrected for the number of measures.
        better: 0 or 1, the side that is nearer to what real images score, where the difference is beyond noise and both
            lie on one side of it; else None.
    """

    a: Measure
    b: Measure
    p: float
    better: int | None


@dataclass(frozen=True)
class Comparison:
    """What differs between two sources: `n` images in each of `draws` draws of either, measured alike.

    `alone` are measures that one side does not have, as where no breast is found. `p_of_copies` is corrected too.
    """

    names: tuple[str, str]
    n: int
    draws: int
    differences: list[Difference]
    alone: list[str]
    copies: tuple[Copies, Copies]
    p_of_copies: float

    def text(self) -> str:
        """A table, a line a measure, under what it is about."""
        rows: list[tuple[str, ...]] = [("", "A", "B", "real v real", "p", "better")]
        for each in self.differences:
            floor = "" if each.a.floor is None else _short(each.a.floor)
            differ = "they differ" if each.p < SURE else "not told apart"
            verdict = differ if each.better is None else "AB"[each.better]
            rows.append((each.a.name, _interval(each.a), _interval(each.b), floor, f"{each.p:.2g}", verdict))
        rows += [(name, "", "", "", "", "not measured on both sides") for name in self.alone]
        counts = [f"{one.count} of {len(one.score)}" for one in self.copies]
        expected = f"{100 * self.copies[0].calibration.false_alarm_rate:.1f} % flagged"
        verdict = "they differ" if self.p_of_copies < SURE else "not told apart"
        rows.append(("copies", *counts, expected, f"{self.p_of_copies:.2g}", verdict))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        first = self.differences[0].a
        return "\n".join(
            [
                f"A: {self.names[0]}",
                f"B: {self.names[1]}",
                f"{self.draws} draws of {self.n} images of each against {first.n_real} real images; real v real at "
                f"N {first.floor_n}; 95 % intervals; p for {len(self.differences) + 1} comparisons together (Holm)",
                "",
                *lines,
            ]
        )


def compare(config: AssessConfig, evaluation: EvaluateConfig, a: Source, b: Source, real: Real) -> Comparison:
    """Every measure of both sources at the same number of images, and whether they differ beyond the noise of draws.

    Welch's t test over the draws for each measure, Fisher's for the copies, corrected by Holm 1979 (Scand. J. Stat. 6,
    65). Of KID the interval speaks of other patients too, who are the same on both sides, so its test is conservative.
    All speaks of these two generators, not of the methods behind them: another training would differ too.

    Raises:
        EvaluationError: a folder with too few images for the draws.
    """
    n = _common(config, len(real.train), a, b)
    sides = []
    for source in (a, b):
        draws = list(source.draws(config.draws, n, config.seed))
        sides.append((measure(evaluation, real, draws), copies_of(real, draws)))
    (of_a, copies_a), (of_b, copies_b) = sides
    by_name = {each.name: each for each in of_b}
    both = [(each, by_name[each.name]) for each in of_a if each.name in by_name]
    alone = sorted({each.name for each in of_a} ^ by_name.keys())
    table = np.array([[found.count, len(found.score) - found.count] for found in (copies_a, copies_b)])
    *chances, of_copies = holm([*(chance_of_equal(x, y) for x, y in both), float(stats.fisher_exact(table).pvalue)])
    return Comparison(
        (a.name, b.name),
        n,
        config.draws,
        [Difference(x, y, p, better(x, y) if p < SURE else None) for (x, y), p in zip(both, chances, strict=True)],
        alone,
        (copies_a, copies_b),
        of_copies,
    )


def chance_of_equal(a: Measure, b: Measure) -> float:
    """Two-sided p of Welch's t test from the two intervals; 1 where neither side varies and both are equal."""
    (sd_a, df_a), (sd_b, df_b) = _error(a), _error(b)
    gap, variance = abs(a.value - b.value), sd_a**2 + sd_b**2
    if variance == 0:
        return float(gap == 0)
    spread = sd_a**4 / df_a + sd_b**4 / df_b
    degrees = variance**2 / spread if spread else math.inf
    return float(2 * stats.t.sf(gap / math.sqrt(variance), degrees))


def _common(config: AssessConfig, n_real: int, *sources: Source) -> int:
    """As many images a draw as all sources have."""
    wanted = config.n_images or n_real
    limits = {source.name: source.most(config.draws) for source in sources}
    n = min([wanted, *(limit for limit in limits.values() if limit is not None)])
    if n < _FEWEST:
        name = next(name for name, limit in limits.items() if limit == n)
        raise EvaluationError(
            f"{name} has too few images for {config.draws} draws of at least {_FEWEST}; bring "
            f"{config.draws * _FEWEST} images or name the generator that drew them"
        )
    return n


def _error(measure: Measure) -> tuple[float, float]:
    """Standard error and degrees of freedom behind the interval of a measure."""
    if measure.low is None or measure.high is None:
        raise EvaluationError(f"{measure.name} has no interval; five draws or more have one (assess.draws)")
    half = (measure.high - measure.low) / 2
    if measure.name.startswith(("kid", "kd_")):  # a jackknife over many images
        return half / float(stats.norm.ppf(0.975)), math.inf
    degrees = measure.n_draws - 1
    return half / float(stats.t.ppf(0.975, degrees)), degrees


def better(a: Measure, b: Measure) -> int | None:
    """0 or 1, the side that is nearer to what real images score; None where that is not said by the difference alone.

    Beyond the real images' score no side is better: a density above theirs is no merit. Where the two lie on either
    side of it, that they differ does not tell which is nearer.
    """
    if a.better == "lower":
        return int(b.value < a.value)
    if a.floor is None:
        return None
    below = [measure.value < a.floor for measure in (a, b)]
    if below[0] != below[1] or (a.better == "higher" and not below[0]):
        return None
    return int(abs(b.value - a.floor) < abs(a.value - a.floor))


def _interval(measure: Measure) -> str:
    ends = "" if measure.low is None or measure.high is None else f" [{_short(measure.low)}, {_short(measure.high)}]"
    return _short(measure.value) + ends


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
