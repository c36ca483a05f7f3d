"""Scores of one generator: FID and KID, and what real images score against each other.

The level of an FID depends on the number of images as much as on their quality, so each comes with a floor:
the FID between two patient-disjoint halves of the real images, and the generator's FID at that same number.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammogan.config import EvaluateConfig
from mammogan.data.tiles import Greys, to_8_bits
from mammogan.errors import EvaluationError
from mammogan.evaluation.features import PROTOCOL
from mammogan.evaluation.frechet import frechet_distance
from mammogan.evaluation.halves import Halves, patient_halves
from mammogan.evaluation.kernel import kernel_distance
from mammogan.evaluation.neighbours import K, neighbours

_BLOCK = 64  # images read at a time for the spread


@dataclass(frozen=True)
class Floor:
    """Real against real, mean over the patient-disjoint halves."""

    fid: float
    fid_sd: float
    kid: float
    kid_sd: float
    n: int  # images in each half


@dataclass(frozen=True)
class Scores:
    """Synthetic against real."""

    fid: float
    kid: float
    precision: float  # NaN where there are too few images, as recall
    recall: float
    n_real: int
    n_fake: int
    floor: float
    floor_kid: float
    floor_n: int
    fid_at_floor_n: float
    ratio: float

    def line(self) -> str:
        """Every number a reader needs to judge the FID, in one line."""
        measured = math.isfinite(self.precision)
        shares = f" precision {self.precision:.2f}, recall {self.recall:.2f}," if measured else ""
        return (
            f"FID {self.fid:.1f} (N {self.n_real} real / {self.n_fake} synthetic),"
            f" KID x1e3 {1e3 * self.kid:.1f},{shares}"
            f" at N {self.floor_n}: FID {self.fid_at_floor_n:.1f} against a real-vs-real floor of"
            f" {self.floor:.1f}, ratio {self.ratio:.2f}, {PROTOCOL}"
        )


def evaluate(
    config: EvaluateConfig,
    real: NDArray[np.float32],
    patients: Sequence[Hashable],
    fake: NDArray[np.float32],
    real_floor: Floor | None = None,
) -> Scores:
    """Score the features of synthetic images, (M, 2048), against those of real ones, (N, 2048).

    `fid_at_floor_n` takes the same halves as the floor, and as many synthetic images, drawn anew for each.

    Args:
        config: seed and number of the halves.
        real: features of the real training images.
        patients: patient of each real image.
        fake: features of the synthetic images.
        real_floor: what `floor` returned for the same config, real and patients; computed when not given.

    Raises:
        EvaluationError: see `floor`; or fewer synthetic images than the floor has in a half.
    """
    found = real_floor or floor(config, real, patients)
    halves = _halves(config, real, patients)
    if found.n != len(halves[0][0]):
        raise EvaluationError(
            f"the floor given has {found.n} images a side where these images have {len(halves[0][0])};"
            " compute it for the same images, patients and evaluate section"
        )
    if len(fake) < found.n:
        raise EvaluationError(
            f"{len(fake)} synthetic images cannot be compared with a floor of {found.n} images a side; make"
            f" at least {found.n} (evaluate.n_images)"
        )
    rng = np.random.default_rng(config.seed)
    at_floor_n = [
        frechet_distance(real[half], fake[rng.choice(len(fake), found.n, replace=False)]) for half, _ in halves
    ]
    fid_at_floor_n = float(np.mean(at_floor_n))
    enough = min(len(real), len(fake)) >= 2 * K
    shares = neighbours(real, fake) if enough else None
    return Scores(
        fid=frechet_distance(real, fake),
        kid=kernel_distance(real, fake),
        precision=shares.precision if shares else math.nan,
        recall=shares.recall if shares else math.nan,
        n_real=len(real),
        n_fake=len(fake),
        floor=found.fid,
        floor_kid=found.kid,
        floor_n=found.n,
        fid_at_floor_n=fid_at_floor_n,
        ratio=fid_at_floor_n / found.fid,
    )


def floor(config: EvaluateConfig, real: NDArray[np.float32], patients: Sequence[Hashable]) -> Floor:
    """FID and KID between halves of the real images, (N, 2048), that share no patient.

    Halves have at most `config.n_images` images, so that the generator can be scored at the same number.

    Raises:
        EvaluationError: too few patients for two halves, or real images that do not differ.
    """
    halves = _halves(config, real, patients)
    fids = [frechet_distance(real[a], real[b]) for a, b in halves]
    kids = [kernel_distance(real[a], real[b]) for a, b in halves]
    if np.mean(fids) < 1e-6:
        raise EvaluationError(
            f"the {len(real)} real images score an FID of {np.mean(fids):.1e} against each other, so they are"
            " all the same image; look at prepared/train.npy"
        )
    return Floor(
        fid=float(np.mean(fids)),
        fid_sd=float(np.std(fids, ddof=1)),
        kid=float(np.mean(kids)),
        kid_sd=float(np.std(kids, ddof=1)),
        n=len(halves[0][0]),
    )


def spread(images: Greys) -> float:
    """Mean over the pixels of the standard deviation over the images (N, ..., H, W), in 8-bit grey levels.

    Near zero when a generator answers every z with the same image. The images may be memory-mapped: they are read in
    blocks, and sums of integers are exact.
    """
    n = len(images)
    total = np.zeros(images.shape[1:], np.int64)
    squares = np.zeros_like(total)
    for start in range(0, n, _BLOCK):
        block = to_8_bits(images[start : start + _BLOCK]).astype(np.uint16)  # 255 squared still fits
        total += block.sum(axis=0, dtype=np.int64)
        squares += np.square(block).sum(axis=0, dtype=np.int64)
    return float(np.sqrt(n * squares - total**2).mean() / n)


def _halves(config: EvaluateConfig, real: NDArray[np.float32], patients: Sequence[Hashable]) -> list[Halves]:
    """Halves of the real images without a common patient, no longer than the generator's set."""
    if len(real) != len(patients):
        raise EvaluationError(f"{len(real)} real images but {len(patients)} patient ids; one is needed for each image")
    return patient_halves(patients, config.floor_splits, config.seed, config.n_images)
