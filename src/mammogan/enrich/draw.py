"""Images drawn and screened one by one until there are enough of each class."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mammogan.data.tiles import Greys
from mammogan.enrich.screen import Distinct, Named
from mammogan.errors import DataError
from mammogan.models.generator import Generator
from mammogan.serving.images import Stamp
from mammogan.serving.recipe import BLOCK, Recipe, draw_block

_PATIENCE = 20  # images drawn for one that is asked for, before giving up
DUPLICATE = "near-duplicate of another synthetic image"


@dataclass(frozen=True)
class Source:
    """A generator, where it comes from, and what its images are.

    Attributes:
        labels: of all its images, where it was trained on one class alone.
    """

    G: Generator
    stamp: Stamp
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str | None:
        """The label that it tells of its images."""
        return next(iter(self.labels), self.G.classes.label if self.G.classes else None)

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the label that it can draw."""
        return tuple(self.labels.values()) or (self.G.classes.values if self.G.classes else ())


@dataclass(frozen=True)
class Drawn:
    """A synthetic image that passed: (S, S), chest wall left, how it was made, and what is known of it."""

    image: Greys
    recipe: Recipe
    stamp: Stamp
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Harvest:
    """All that passed, in the order of drawing, and how many were turned away for each reason."""

    images: list[Drawn]
    rejected: Mapping[str, int]
    drawn: int


def harvest(
    sources: Sequence[Source],
    counts: Mapping[str | None, int],
    *,
    seed: int,
    truncation: float,
    screens: Sequence[Named],
    distinct: Distinct,
    progress: Callable[[int], None] = lambda n: None,
) -> Harvest:
    """Draw until `counts` images of each class have passed `screens` and then `distinct`.

    Blocks of a seed go in turn to the class that lacks most, so no index is used for two classes. Class None is drawn
    from the only source. An image is screened before the next is; the first reason counts.

    Raises:
        DataError: of twenty images drawn for one asked for, too few pass.
    """
    left = {value: count for value, count in counts.items() if count}
    images: list[Drawn] = []
    rejected: Counter[str] = Counter()
    total, first = sum(left.values()), 0
    while left:
        value = max(left, key=lambda value: left[value])
        if first >= _PATIENCE * total + 4 * BLOCK:
            why = ", ".join(f"{count} {reason}" for reason, count in rejected.most_common())
            raise DataError(
                f"only {len(images)} of {total} images passed after {first} were drawn ({why}); nothing was added. "
                "Take another generator, or ask for fewer images"
            )
        source = next(one for one in sources if value is None or value in one.values)
        asked = None if source.G.classes is None else value
        block, labels = draw_block(source.G, first, seed, truncation, asked)
        reasons = _reasons(block, [*screens, Named(DUPLICATE, distinct)])
        near = Distinct()  # of this block
        for place, image in enumerate(block):
            if not left[value]:
                break
            reason = reasons[place] or ("" if near(image[None])[0] else DUPLICATE)
            if reason:
                rejected[reason] += 1
                continue
            near.take([image])
            images.append(_drawn(source, image, seed, first + place, truncation, labels[place]))
            left[value] -= 1
            progress(len(images))
        distinct.take(one.image for one in images if one.recipe.index >= first)
        left = {value: count for value, count in left.items() if count}
        first += BLOCK
    return Harvest(images, dict(rejected.most_common()), len(images) + sum(rejected.values()))


def _drawn(source: Source, image: Greys, seed: int, index: int, truncation: float, labels: Mapping[str, str]) -> Drawn:
    stamp = source.stamp
    recipe = Recipe(stamp.model, stamp.weights_sha256, seed, index, truncation, labels=dict(labels))
    return Drawn(image, recipe, stamp, {**labels, **source.labels})


def _reasons(block: Greys, screens: Sequence[Named]) -> list[str]:
    """The first reason to turn each of `block` (BLOCK, S, S) away, or ""."""
    reasons = [""] * len(block)
    for screen in screens:
        for place, passed in enumerate(screen.passes(block)):
            reasons[place] = reasons[place] or ("" if passed else screen.reason)
    return reasons
