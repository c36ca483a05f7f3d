"""What is wrong with a run, and what is done about it, once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What the caller found in an evaluation.

    Attributes:
        score: of the generator, lower is better; None where there is none.
        complaint: what is wrong with its images, in a sentence; None when nothing is.
    """

    score: float | None = None
    complaint: str | None = None


_GRACE_IMAGES = 4000


def young(n_images: int, n_total: int) -> bool:
    """Whether too little has been learnt to judge a run by: in its first 4,000 images, at most its first half.

    A fresh StyleGAN is white, and D is sure of all real images, after a few steps.
    """
    return n_images < min(_GRACE_IMAGES, n_total / 2)


def not_finite(values: Mapping[str, float]) -> str | None:
    """A sentence on the first loss that is not a finite number."""
    for name, value in values.items():
        if not math.isfinite(value):
            return f"{name} is {value}"
    return None


def overfitted(sign: float, limit: float) -> str | None:
    """A sentence when the mean sign of D on real images has passed `limit`: D knows them by heart.

    r_t of Karras et al. 2020 (arXiv:2006.06676), eq. 1: 0 without overfitting, 1 with complete overfitting.
    """
    if sign <= limit:
        return None
    return f"D is sure of nearly all real images (mean sign {sign:.3f}, limit {limit:g}): it has overfitted"
