"""Does a generator copy its training images? For each synthetic image the training image that is most nearly the same.

An image is flagged when it is nearer to a training image than real mammograms of other patients are. The measure is
the normalised cross-correlation (NCC) of `mammogan.data.ncc`; docs/privacy.md says what it finds and what it misses.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammogan.data.copies import COPY_NCC, References
from mammogan.data.ncc import Alignment
from mammogan.errors import EvaluationError
from mammogan.evaluation.binomial import chance_of_exceeding, exact_interval

FALSE_ALARMS = 0.01  # the share of fresh real images that may be flagged; shown from 368 images on
CALIBRATION_IMAGES = 1000  # more would only narrow the interval, whose upper end is 0.4 % with so many

_BLIND = 0.9  # NCC: a threshold from here up would pass noisy and blurred copies

Images = NDArray[Any]
Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]  # images done, images in all


class Reference:
    """The training images, uint8 or uint16 (N, S, S), memory maps too, made ready once for many checks.

    In memory it holds about 6 kB an image, whatever the resolution.

    Raises:
        EvaluationError: the images are not as said, none has any structure, or there is not one patient for each.
    """

    def __init__(self, images: Images, patients: Sequence[Hashable]) -> None:
        _check("training images", images)
        if len(images) == 0:
            raise EvaluationError("copies: there are no training images to compare with; run `mammogan prepare`")
        if len(patients) != len(images):
            raise EvaluationError(
                f"copies: {len(patients)} patients for {len(images)} training images; give one for each image"
            )
        self._references = References(images)
        if self._references.blank.all():
            raise EvaluationError(
                "copies: no training image has any structure (all black or of one grey level), so nothing can be told "
                "of copies; look at the tiles"
            )
        self.images = images
        self.patients = list(patients)

    def closest(
        self,
        images: Images,
        patients: Sequence[Hashable] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[NDArray[np.int64], Floats]:
        """Position of the closest training image to each of `images`, int64 (M,), and their NCC, float32 (M,).

        With the `patients` of `images`, training images of the same patient do not count.
        """
        apart = None if patients is None else (patients, self.patients)
        return self._references.closest(images, apart, progress)

    def alignment(self, image: Images, index: int) -> Alignment:
        """How the training image at `index` lies over `image` (S, S)."""
        return self._references.alignment(image, index)


@dataclass(frozen=True)
class Calibration:
    """From which NCC an image counts as a copy, and how often that accuses a fresh real image.

    Attributes:
        threshold: NCC; an image above it is flagged.
        n_holdout: holdout images that it rests on.
        n_training: training images, each against those of other patients, that it rests on.
        above: how many of them lie above the threshold: pictures that the set holds under two patients.
        low: of the 95 % interval of the share of fresh real images that are flagged; `high` likewise.
    """

    threshold: float
    n_holdout: int
    n_training: int
    above: int
    low: float
    high: float

    @property
    def n(self) -> int:
        """Real images that the threshold rests on."""
        return self.n_holdout + self.n_training

    @property
    def false_alarm_rate(self) -> float:
        """At most this share of fresh real images is expected to be flagged."""
        return (self.above + 1) / (self.n + 1)

    @property
    def holds(self) -> bool:
        """Whether the real images show at most 1 % false alarms, by the upper end of the 95 % interval."""
        return self.high <= FALSE_ALARMS

    def line(self) -> str:
        """The threshold and what it rests on."""
        parts = [f"{self.n_holdout} holdout images"] if self.n_holdout else []
        parts += [f"{self.n_training} training images against other patients"] if self.n_training else []
        fixed = "" if self.holds else f"; that does not show at most 1 %, so it is at least the fixed {COPY_NCC}"
        return (
            f"NCC above {self.threshold:.3f}, from {' and '.join(parts)}, of which {self.above} lie above it"
            f" ({self.above / self.n:.1%} [{self.low:.1%}, {self.high:.1%}]){fixed}"
        )


@dataclass(frozen=True, eq=False)
class Copies:
    """How near each synthetic image is to the training images.

    Attributes:
        score: NCC with the closest training image, float32 (N,) in [0, 1]; 0 without any structure.
        nearest: position of that training image, int64 (N,).
        alignments: how it lies over the synthetic image, one for each.
        calibration: where the threshold comes from.
    """

    score: Floats
    nearest: NDArray[np.int64]
    alignments: tuple[Alignment, ...]
    calibration: Calibration

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Which images are nearer to a training image than fresh real ones are, bool (N,)."""
        return self.score > self.calibration.threshold

    @property
    def blank(self) -> int:
        """Images without anything to compare, such as black ones: no copies, but nothing else either."""
        return int((self.score == 0).sum())

    @property
    def count(self) -> int:
        """Flagged images."""
        return int(self.flagged.sum())

    @property
    def share(self) -> float:
        """The share of the images that is flagged; see also `expected`."""
        return self.count / len(self.score)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `share`."""
        return exact_interval(self.count, len(self.score))

    @property
    def expected(self) -> float:
        """How many of so many fresh real images would be flagged."""
        return self.calibration.false_alarm_rate * len(self.score)

    @property
    def p_value(self) -> float:
        """The chance that at least so many of as many fresh real images were flagged."""
        calibration = self.calibration
        return chance_of_exceeding(self.count, len(self.score), calibration.above, calibration.n)

    def line(self) -> str:
        """What the check found, in one line."""
        low, high = self.interval
        blank = f"; {self.blank} without structure could not be judged" if self.blank else ""
        return (
            f"copies {self.count} of {len(self.score)} ({self.share:.1%} [{low:.1%}, {high:.1%}]),"
            f" {self.expected:.1f} expected of fresh real images (p {self.p_value:.2g}),"
            f" {self.calibration.line()}{blank}"
        )


def calibrate(
    reference: Reference, holdout: Images, at_most: int = CALIBRATION_IMAGES, progress: Progress | None = None
) -> Calibration:
    """The threshold that fresh real images pass: the greatest NCC that `at_most` of them have with a training image.

    They are the images `holdout` (M, S, S), whose patients must not be among the training images', and, if these are
    fewer than `at_most`, training images against those of other patients. Sets hold some pictures under two patients:
    scores that `prepare` calls a near-duplicate are passed over as long as the expected false alarms stay within 1 %.

    The greatest of few scores may lie low by chance. So the threshold is at least `COPY_NCC` until the exact 95 %
    interval of the false alarms ends at 1 % or less, which takes 368 images with none above it.

    Raises:
        EvaluationError: there is neither a holdout nor a second patient, nothing has any structure, or so many fresh
            images are the same as a training image that copies cannot be told from them.
    """
    _check("holdout images", holdout)
    _check_same_size("holdout images", holdout, reference)
    held = _evenly(len(holdout), at_most)
    trained = _evenly(len(reference.images), at_most - len(held)) if len(set(reference.patients)) > 1 else held[:0]
    total = len(held) + len(trained)
    if total == 0:
        raise EvaluationError(
            "copies: the holdout is empty and the training images are of one patient, so no fresh image says what is "
            "near; prepare a set of more patients"
        )
    _, of_holdout = reference.closest(holdout[held], progress=_counted(progress, 0, total))
    patients = [reference.patients[k] for k in trained]
    _, of_training = reference.closest(
        reference.images[trained], patients, progress=_counted(progress, len(held), total)
    )
    return threshold(of_holdout, of_training)


def threshold(of_holdout: Floats, of_training: Floats) -> Calibration:
    """The calibration from the NCC of fresh real images with the training images; see `calibrate`.

    Raises:
        EvaluationError: as `calibrate`.
    """
    of_holdout, of_training = of_holdout[of_holdout > 0], of_training[of_training > 0]
    scores = np.sort(np.concatenate([of_holdout, of_training]))[::-1]
    n = len(scores)
    if n == 0:
        raise EvaluationError(
            "copies: no fresh real image has any structure (all black or of one grey level), so there is no threshold; "
            "look at the tiles of the holdout"
        )
    allowed = max(int(FALSE_ALARMS * (n + 1)) - 1, 0)  # expected false alarms: (allowed + 1) / (n + 1)
    above = min(int((scores >= COPY_NCC).sum()), allowed)
    found = float(scores[above])
    if exact_interval(above, n)[1] > FALSE_ALARMS:
        found = max(found, COPY_NCC)
    if found >= _BLIND:
        same = int((scores >= _BLIND).sum())
        raise EvaluationError(
            f"copies: {same} of {n} real images are the same picture as a training image of another patient (NCC"
            f" {found:.2f}), so copies cannot be told from fresh images; correct the patients or remove the duplicates"
            " (near_duplicates.csv), then run `mammogan prepare` again"
        )
    above = int((scores > np.float32(found)).sum())
    low, high = exact_interval(above, n)
    return Calibration(found, len(of_holdout), len(of_training), above, low, high)


def check(fakes: Images, reference: Reference, calibration: Calibration, progress: Progress | None = None) -> Copies:
    """Which of the synthetic images `fakes`, uint8 or uint16 (N, S, S), are copies of training images.

    About 20 ms of processor time an image where there are 256 training images or more: cheap enough to watch some
    dozens of images in each evaluation of a run, with the same `reference` and `calibration`.

    Raises:
        EvaluationError: the images are not as said, of another size than the training images, or there is none.
    """
    _check("synthetic images", fakes)
    _check_same_size("synthetic images", fakes, reference)
    if len(fakes) == 0:
        raise EvaluationError("copies: there are no synthetic images to check")
    nearest, score = reference.closest(fakes, progress=_counted(progress, 0, len(fakes)))
    alignments = tuple(reference.alignment(fakes[k], int(nearest[k])) for k in range(len(fakes)))
    return Copies(score, nearest, alignments, calibration)


def find(
    fakes: Images,
    train: Images,
    train_patients: Sequence[Hashable],
    holdout: Images,
    progress: Progress | None = None,
) -> Copies:
    """`check` with a reference of `train` that is calibrated with `holdout`, all in one; see there.

    `progress` runs twice, over the images of the calibration and then over the synthetic ones.

    Raises:
        EvaluationError: as `Reference`, `calibrate` and `check`.
    """
    reference = Reference(train, train_patients)
    _check("synthetic images", fakes)
    _check_same_size("synthetic images", fakes, reference)
    return check(fakes, reference, calibrate(reference, holdout, progress=progress), progress)


def _evenly(total: int, at_most: int) -> NDArray[np.int64]:
    """At most `at_most` of the positions below `total`, spread evenly, ascending."""
    return np.arange(total) if total <= at_most else np.arange(at_most) * total // max(at_most, 1)


def _counted(progress: Progress | None, before: int, total: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(before + done, total)


def _check(name: str, images: Images) -> None:
    if not isinstance(images, np.ndarray):
        raise EvaluationError(f"copies: the {name} are a {type(images).__name__}; give one array of images of one size")
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.shape[1] == 0:
        raise EvaluationError(f"copies: the {name} have the shape {images.shape}, expected square images (N, S, S)")
    if images.dtype not in (np.uint8, np.uint16):
        raise EvaluationError(f"copies: the {name} are {images.dtype}, expected grey levels in uint8 or uint16")


def _check_same_size(name: str, images: Images, reference: Reference) -> None:
    if images.shape[1:] != reference.images.shape[1:]:
        raise EvaluationError(
            f"copies: the {name} have {images.shape[-1]} px, the training images {reference.images.shape[-1]}; "
            "compare images of one size"
        )
