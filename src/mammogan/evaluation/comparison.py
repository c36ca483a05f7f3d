"""Set against set, and the same with halves of the real images: how a measure gets its floor and its interval."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammogan.errors import EvaluationError
from mammogan.evaluation import intervals, neighbours
from mammogan.evaluation.halves import Halves, patient_halves
from mammogan.evaluation.intervals import Interval
from mammogan.evaluation.measures import Better, Measure, Side


@dataclass(frozen=True, eq=False)
class Plan:
    """Which images are compared with which, the same for every measure."""

    patients: Sequence[Hashable]
    halves: list[Halves]
    drawn: list[tuple[int, NDArray[np.intp]]]  # for each pair of halves, a draw and as many of its images
    n_real: int
    n_fake: int
    n_draws: int
    seed: int

    @property
    def floor_n(self) -> int:
        """Images in each half."""
        return len(self.halves[0][0])


def plan_of(real: Side, draws: Sequence[Side], splits: int, seed: int) -> Plan:
    """Check that the sides fit together, and draw the halves and what is compared with them.

    Raises:
        EvaluationError: no draw, draws of several sizes, too few images or patients, fewer than 2 splits, features
            that do not belong to the images or differ in protocol.
    """
    if not draws:
        raise EvaluationError("there is no synthetic image; give at least one draw of the generator")
    if real.patients is None:
        raise EvaluationError("the real images have no patients; the floors need one for each image")
    if len(real.patients) != len(real.images):
        raise EvaluationError(
            f"{len(real.images)} real images but {len(real.patients)} patient ids; one is needed for each image"
        )
    if splits < 2:
        raise EvaluationError(f"{splits} splits have no standard deviation; give at least 2")
    sizes = sorted({len(draw.images) for draw in draws})
    if len(sizes) > 1:
        raise EvaluationError(
            f"the draws have {', '.join(map(str, sizes))} images; give all the same number, on which scores depend"
        )
    for side, name in ((real, "real"), *((draw, "synthetic") for draw in draws)):
        if len(side.features) != len(side.images):
            raise EvaluationError(f"{len(side.images)} {name} images have {len(side.features)} rows of features")
        if side.protocol != real.protocol:
            raise EvaluationError(f"real features are {real.protocol}, synthetic ones {side.protocol}; use one")
    halves = patient_halves(real.patients, splits, seed, at_most=sizes[0])
    n = len(halves[0][0])
    if n < 2 * neighbours.K:
        raise EvaluationError(
            f"{len(real.images)} real images of {len(set(real.patients))} patients and {sizes[0]} synthetic ones leave"
            f" {n} images a side for the floor; k = {neighbours.K} neighbours need at least {2 * neighbours.K}"
        )
    rng = np.random.default_rng(seed)
    drawn = [(i % len(draws), rng.choice(sizes[0], n, replace=False)) for i in range(splits)]
    return Plan(real.patients, halves, drawn, len(real.images), sizes[0], len(draws), seed)


def compare(
    plan: Plan,
    names: Mapping[str, Better],
    protocol: str,
    distance: Callable[[NDArray[Any], NDArray[Any]], tuple[float, ...]],
    real: NDArray[Any],
    draws: Sequence[NDArray[Any]],
    interval: Interval | None = None,
) -> list[Measure]:
    """The measures that `distance` gives together for two sets, each summed up by one row an image: (N, ...)."""
    values = np.array([distance(real, draw) for draw in draws])  # (draws, names)
    floors = np.array([distance(real[a], real[b]) for a, b in plan.halves])  # (splits, names)
    at_floor_n = [
        distance(real[half], draws[draw][chosen])
        for (half, _), (draw, chosen) in zip(plan.halves, plan.drawn, strict=True)
    ]
    return [
        measure_of(
            plan,
            name,
            interval or intervals.of_draws(values[:, i].tolist()),
            better,
            floor=float(floors[:, i].mean()),
            floor_sd=float(floors[:, i].std(ddof=1)),
            at_floor_n=float(np.mean(at_floor_n, axis=0)[i]),
            protocol=protocol,
        )
        for i, (name, better) in enumerate(names.items())
    ]


def mean_of_images(
    plan: Plan, name: str, protocol: str, real: NDArray[np.float64], draws: Sequence[NDArray[np.float64]]
) -> Measure:
    """The mean over the images of one number (N,) each, NaN where it has none."""
    halves = [float(np.nanmean(real[half])) for pair in plan.halves for half in pair]
    return measure_of(
        plan,
        name,
        intervals.of_draws([float(np.nanmean(draw)) for draw in draws]),
        "near_floor",
        floor=float(np.nanmean(real)),
        floor_sd=float(np.std(halves, ddof=1)),
        at_floor_n=None,
        protocol=protocol,
    )


def measure_of(
    plan: Plan,
    name: str,
    interval: Interval,
    better: Better,
    *,
    floor: float,
    floor_sd: float,
    at_floor_n: float | None,
    protocol: str,
) -> Measure:
    """A measure of this plan."""
    return Measure(
        name=name,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        better=better,
        floor=floor,
        floor_sd=floor_sd,
        floor_n=plan.floor_n,
        at_floor_n=at_floor_n,
        n_real=plan.n_real,
        n_fake=plan.n_fake,
        n_draws=plan.n_draws,
        protocol=protocol,
    )
