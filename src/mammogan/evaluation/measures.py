"""What the suite takes and gives: a side of images with their features, and a measure with its floor and interval."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mammogan.data.tiles import Greys
from mammogan.errors import EvaluationError
from mammogan.evaluation.features import PROTOCOL

Better = Literal["lower", "higher", "near_floor"]

_SEVERAL = 2.0  # sds of the floor from 0, below which a ratio to it means nothing


@dataclass(frozen=True)
class Measure:
    """One measure of a generator.

    Attributes:
        name: its name is its protocol's: `fid` and `kid` only for the FID network.
        value: mean over the draws, each against all real images, or mean over the synthetic images.
        low, high: interval of 95 % around the value; None where there are too few draws.
        better: which values are good ones.
        floor: real against real: mean over the halves; for means over images, that of all real images.
        floor_sd: standard deviation over the halves.
        floor_n: images in each half.
        at_floor_n: the value for as many images a side as the floor has; None for means over images, which do not
            depend on it.
        n_real, n_fake, n_draws: images of the real set and of each draw, number of draws.
        protocol: how it was computed.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    better: Better
    floor: float | None
    floor_sd: float | None
    floor_n: int
    at_floor_n: float | None
    n_real: int
    n_fake: int
    n_draws: int
    protocol: str

    @property
    def ratio(self) -> float | None:
        """How many times the floor the value at the floor's number is; None where the floor is about 0 or no floor."""
        if self.better != "lower" or self.floor is None or self.floor_sd is None or self.at_floor_n is None:
            return None
        return self.at_floor_n / self.floor if self.floor > _SEVERAL * self.floor_sd else None


@dataclass(frozen=True, eq=False)
class Side:
    """A set of images and what is known of them.

    Attributes:
        images: uint8 or uint16 (N, S, S) or (N, 1, S, S).
        features: (N, d).
        patients: one for each real image; None for synthetic images.
        labels: of the manifest, by name (`laterality`, `view`, `density`, ...): one for each image, empty if unknown.
        protocol: of the features.
        extractor: the name of the network that gave them, which the names of its measures bear: `fd_<extractor>`. Not
            needed for the FID network.
    """

    images: Greys
    features: NDArray[np.float32]
    patients: Sequence[Hashable] | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    protocol: str = PROTOCOL
    extractor: str = ""


def line(measures: Sequence[Measure]) -> str:
    """The FID, or the first Frechet distance, with all that a reader needs to judge it, in one line.

    `FID 71.2 [68.9, 74.0], N 1821/1821, floor 33.6 (N 905/905, there FID 70.1), ratio 2.1, inception20151205
    pil-bicubic299`: images real/synthetic; the ratio is that of the two values at the floor's number of images.
    """
    found = next((m for m in measures if m.name == "fid" or m.name.startswith("fd_")), None)
    if found is None:
        raise EvaluationError("there is no Frechet distance among the measures: " + ", ".join(m.name for m in measures))
    name = "FID" if found.name == "fid" else found.name
    interval = f" [{found.low:.1f}, {found.high:.1f}]" if found.low is not None and found.high is not None else ""
    parts = [f"{name} {found.value:.1f}{interval}", f"N {found.n_real}/{found.n_fake}"]
    if found.floor is not None and found.at_floor_n is not None:
        n = found.floor_n
        parts.append(f"floor {found.floor:.1f} (N {n}/{n}, there {name} {found.at_floor_n:.1f})")
    if found.ratio is not None:
        parts.append(f"ratio {found.ratio:.1f}")
    return ", ".join([*parts, found.protocol.replace("_", " ")])
