"""What each of the four classifiers is trained on: as many images, as often shown, from the same first weights."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mammogan.config import UtilityConfig
from mammogan.data.area import area_mean
from mammogan.data.tiles import Greys, to_8_bits
from mammogan.errors import EvaluationError

ArmName = Literal["real", "augmented", "mixed", "synthetic"]
ARMS: tuple[ArmName, ...] = get_args(ArmName)
BASELINE: ArmName = "real"
TITLES: dict[ArmName, str] = {
    "real": "real, repeated",
    "augmented": "real, repeated, classically augmented",
    "mixed": "real + synthetic",
    "synthetic": "synthetic only",
}


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images uint8 or uint16 (N, H, W), whether each shows the finding, bool (N,), and the patient of each.

    The patients of synthetic images are not looked at.
    """

    images: Greys
    labels: NDArray[np.bool_]
    patients: Sequence[Hashable]


@dataclass(frozen=True, eq=False)
class Arm:
    """A training set: images uint8 (N, H, W), labels (N,), and whether they are augmented classically."""

    name: ArmName
    images: NDArray[np.uint8]
    labels: NDArray[np.bool_]
    augment: bool


def arms(config: UtilityConfig, train: Labelled, synthetic: Labelled) -> list[Arm]:
    """The training sets, all of one size and with the same share of each class.

    To the real images are added, in either class, `config.per_real` as many: copies of the real ones for the
    baseline, so that mere volume is not credited, and for classical augmentation; synthetic ones for the mixture.
    The set of synthetic images alone consists of those same ones, repeated. Images of one class stand at the same
    places in the first three sets.

    Raises:
        EvaluationError: there are fewer synthetic images of a class than asked for.
    """
    chance = np.random.default_rng(config.seed)
    copies, chosen, alone = [], [], []
    for value in (False, True):
        real = np.flatnonzero(train.labels == value)
        dose = added(config, len(real))
        there = np.flatnonzero(synthetic.labels == value)
        if len(there) < dose:
            raise EvaluationError(
                f"{len(there)} synthetic images {'with' if value else 'without'} the finding, but utility.per_real "
                f"{config.per_real:g} asks for {dose} beside {len(real)} real ones; make more, or set it lower"
            )
        picked = _some(there, dose, chance)
        copies.append(_repeated(real, dose, chance))
        chosen.append(picked)
        alone.append(_repeated(picked, len(real) + dose, chance))
    real_images, fake_images = reduced(train.images, config.resolution), reduced(synthetic.images, config.resolution)
    if real_images.shape[1:] != fake_images.shape[1:]:
        raise EvaluationError(
            f"real images are {train.images.shape[1:]} and synthetic ones {synthetic.images.shape[1:]}; "
            "they must be of one size"
        )
    copied, added_ones, only = (np.concatenate(parts) for parts in (copies, chosen, alone))
    doubled = np.concatenate([real_images, real_images[copied]])
    labels = np.concatenate([train.labels, train.labels[copied]])
    return [
        Arm("real", doubled, labels, augment=False),
        Arm("augmented", doubled, labels, augment=True),
        Arm(
            "mixed",
            np.concatenate([real_images, fake_images[added_ones]]),
            np.concatenate([train.labels, synthetic.labels[added_ones]]),
            augment=False,
        ),
        Arm("synthetic", fake_images[only], synthetic.labels[only], augment=False),
    ]


def added(config: UtilityConfig, n_real: int) -> int:
    """How many images are added to `n_real` of a class."""
    return max(1, round(config.per_real * n_real))


def reduced(images: Greys, resolution: int) -> NDArray[np.uint8]:
    """Images (N, H, W) in 8 bits, averaged down to (N, resolution, resolution) where they are larger."""
    grey = to_8_bits(images)
    if max(grey.shape[1:]) <= resolution:
        return grey
    small = [area_mean(image.astype(np.float32), resolution, resolution) for image in grey]
    return np.rint(small).astype(np.uint8)


def _some(members: NDArray[np.intp], n: int, chance: np.random.Generator) -> NDArray[np.intp]:
    """`n` of the members, in their order."""
    return members if n == len(members) else np.sort(chance.choice(members, n, replace=False))


def _repeated(members: NDArray[np.intp], n: int, chance: np.random.Generator) -> NDArray[np.intp]:
    """`n` members: all of them as often as it goes, in their order, and some once more."""
    rounds, rest = divmod(n, len(members))
    return np.concatenate([np.tile(members, rounds), _some(members, rest, chance)])
