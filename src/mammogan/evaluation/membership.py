"""Does a set of synthetic images give away who was in the training set? By distances in a feature space.

Two scores of the whole set, beside the copies of single images (`mammogan.evaluation.copies`): the share of synthetic
images that lie nearer to the training images than to a holdout, and an attack that guesses who was trained on.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mammogan.errors import EvaluationError
from mammogan.evaluation.binomial import exact_interval

FALSE_POSITIVES = 0.01

_DRAWS = 20  # of as many training images as there are holdout images
_ROWS_AT_ONCE = 256

Features = NDArray[np.floating]
Patients = Sequence[Hashable]


@dataclass(frozen=True)
class NearestShare:
    """The share of synthetic images whose nearest real image is a training image, not one of as many holdout images.

    Attributes:
        share: 0.5 for a generator that does not know who was trained on.
        z: of the share, were the synthetic images independent: (share - 0.5) / sqrt(0.25 / n).
        z_patients: the same where it is the patients that are trained on or held out at random. Far smaller than `z`
            where many synthetic images have the same few neighbours: that is a collapse, not a copy.
        n: synthetic images.
        n_real: real images on each side.
    """

    share: float
    z: float
    z_patients: float
    n: int
    n_real: int

    def line(self) -> str:
        """The share and its z, in one line."""
        return (
            f"nearest image is a training image for {self.share:.1%} of {self.n} (z {self.z:+.1f}, by patients"
            f" {self.z_patients:+.1f}), {self.n_real} training and {self.n_real} holdout images"
        )


@dataclass(frozen=True)
class Attack:
    """How well an attacker who sees the synthetic images tells training images from holdout images.

    Attributes:
        tpr_at_1_fpr: share of the training images that are recognised, at a threshold that at most 1 % of the holdout
            images pass.
        low: of its 95 % interval, exact binomial with as many trials as there are training patients; `high` likewise.
        auc: chance that a training image looks more trained on than a holdout image; 0.5 is a guess.
        n_train: training images; `n_holdout` holdout images.
        attainable: whether the holdout is large enough to tell 1 % false positives, 99 images. Otherwise the attack
            is the one at no false positive in the holdout.
    """

    tpr_at_1_fpr: float
    low: float
    high: float
    auc: float
    n_train: int
    n_holdout: int
    attainable: bool

    def line(self) -> str:
        """The true-positive rate and what it rests on, in one line."""
        none = "" if self.attainable else f" (no false positive among {self.n_holdout}, too few to tell 1 %)"
        return (
            f"membership TPR at 1 % FPR {self.tpr_at_1_fpr:.2%} [{self.low:.2%}, {self.high:.2%}]{none},"
            f" AUC {self.auc:.3f}, {self.n_train} training and {self.n_holdout} holdout images"
        )


def nearest_share(
    fake: Features,
    train: Features,
    holdout: Features,
    train_patients: Patients | None = None,
    holdout_patients: Patients | None = None,
    seed: int = 0,
) -> NearestShare:
    """The share of the features `fake` (N, d) that lie nearer to `train` (M, d) than to `holdout` (H, d).

    The larger side is drawn to the size of the smaller, 20 times, and the shares averaged; ties count half. Without
    patients each image counts as a patient of her own.

    Raises:
        EvaluationError: a side is empty, the features are not finite or not of one kind, or there is not one patient
            for each image.
    """
    fake, train, holdout = _checked(fake, train, holdout)
    owners = _owners(train_patients, holdout_patients, len(train), len(holdout))
    n_real = min(len(train), len(holdout))
    rng = np.random.default_rng(seed)
    far = _distances(fake, np.concatenate([train, holdout]))
    same = 1e-6 * float(np.abs(far).max())  # rounding
    shares, spreads = [], []
    for _ in range(1 if len(train) == len(holdout) else _DRAWS):
        drawn = rng.permutation(len(train))[:n_real], len(train) + rng.permutation(len(holdout))[:n_real]
        of_train, of_holdout = (far[:, side].min(axis=1) for side in drawn)
        undecided = np.abs(of_train - of_holdout) <= same
        shares.append(float(np.where(undecided, 0.5, of_train < of_holdout).mean()))
        chosen = np.concatenate(drawn)
        nearest = chosen[far[:, chosen].argmin(axis=1)]
        spreads.append(float((np.bincount(owners[nearest]).astype(float) ** 2).sum()) / 4 / len(fake) ** 2)
    share = float(np.mean(shares))
    return NearestShare(
        share=share,
        z=(share - 0.5) / np.sqrt(0.25 / len(fake)),
        z_patients=(share - 0.5) / float(np.sqrt(np.mean(spreads))),
        n=len(fake),
        n_real=n_real,
    )


def attack(
    fake: Features,
    train: Features,
    holdout: Features,
    train_patients: Patients | None = None,
) -> Attack:
    """The attack that takes a real image for trained on when a synthetic image is near: GAN-Leaks, black box.

    Features (N, d), (M, d), (H, d); Chen et al. 2020 (arXiv:1909.03935), reported as Carlini et al. 2022
    (arXiv:2112.03570) ask: by the true-positive rate at few false positives.

    Raises:
        EvaluationError: as `nearest_share`.
    """
    fake, train, holdout = _checked(fake, train, holdout)
    return attack_by(-_distances(train, fake).min(axis=1), -_distances(holdout, fake).min(axis=1), train_patients)


def attack_by(
    train: NDArray[np.floating], holdout: NDArray[np.floating], train_patients: Patients | None = None
) -> Attack:
    """The attack by any closeness of each training image (M,) and holdout image (H,) to the synthetic images.

    Greater is closer; the NCC of `mammogan.data.copies.closest` with the synthetic images as references is one.

    Raises:
        EvaluationError: as `nearest_share`.
    """
    if len(train) == 0 or len(holdout) == 0:
        raise EvaluationError(
            f"membership: {len(train)} training and {len(holdout)} holdout images; both sides are needed"
        )
    if not (np.isfinite(train).all() and np.isfinite(holdout).all()):
        raise EvaluationError("membership: a closeness is not finite; look at the features of the images")
    owners = _owners(train_patients, None, len(train), len(holdout))[: len(train)]
    passing = max(int(FALSE_POSITIVES * (len(holdout) + 1)) - 1, 0)
    level = np.sort(holdout)[::-1][passing]
    recognised = train > level
    tpr, n_patients = float(recognised.mean()), len(set(owners.tolist()))
    low, high = exact_interval(tpr * n_patients, n_patients)
    above = stats.rankdata(np.concatenate([train, holdout]))[: len(train)].sum() - len(train) * (len(train) + 1) / 2
    return Attack(
        tpr_at_1_fpr=tpr,
        low=low,
        high=high,
        auc=float(above / len(train) / len(holdout)),
        n_train=len(train),
        n_holdout=len(holdout),
        attainable=(passing + 1) / (len(holdout) + 1) <= FALSE_POSITIVES,
    )


def _distances(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared Euclidean distances (N, M) of the rows of `x` (N, d) and `y` (M, d)."""
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    square = np.einsum("md,md->m", y, y)
    far = np.empty((len(x), len(y)), np.float32)
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = x[start : start + _ROWS_AT_ONCE]
        far[start : start + _ROWS_AT_ONCE] = np.einsum("nd,nd->n", rows, rows)[:, None] + square - 2 * rows @ y.T
    return np.maximum(far, 0, out=far)


def _checked(*sides: Features) -> tuple[NDArray[np.float32], ...]:
    for name, side in zip(("synthetic", "training", "holdout"), sides, strict=True):
        if side.ndim != 2 or side.shape[1] != sides[0].shape[-1]:
            raise EvaluationError(
                f"membership: {name} features have the shape {side.shape}, the synthetic ones {sides[0].shape}; "
                "expected (N, d) of one extractor"
            )
        if len(side) == 0:
            raise EvaluationError(f"membership: there are no {name} images; it takes all three sides")
        if not np.isfinite(side).all():
            raise EvaluationError(f"membership: {name} features are not finite; look at the images")
    return tuple(side.astype(np.float32, copy=False) for side in sides)


def _owners(
    train_patients: Patients | None, holdout_patients: Patients | None, n_train: int, n_holdout: int
) -> NDArray[np.int64]:
    """The patient of each training and then each holdout image as a number; the two sides share none."""
    owners: list[Hashable] = []
    for name, patients, n in (("training", train_patients, n_train), ("holdout", holdout_patients, n_holdout)):
        if patients is not None and len(patients) != n:
            raise EvaluationError(f"membership: {len(patients)} patients for {n} {name} images; give one for each")
        owners += [(name, patient) for patient in (range(n) if patients is None else patients)]
    numbers = {owner: k for k, owner in enumerate(dict.fromkeys(owners))}
    return np.array([numbers[owner] for owner in owners], np.int64)
