"""The whole suite of one generator: every measure with its real-vs-real floor and an interval.

Most measures are distances between two sets, and depend on how many images those have: their floor is the distance
between two patient-disjoint halves of the real images, and beside it stands the generator's at the same number. The
others are means over the images of one set, which ought to be those of the real images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from mammogan.errors import EvaluationError
from mammogan.evaluation import breasts, grey, intervals, neighbours, spectrum, structure
from mammogan.evaluation.comparison import Plan, compare, mean_of_images, measure_of, plan_of
from mammogan.evaluation.features import PROTOCOL
from mammogan.evaluation.frechet import frechet_distance
from mammogan.evaluation.images import checked
from mammogan.evaluation.kernel import kernel_distance
from mammogan.evaluation.measures import Better, Measure, Side, line

__all__ = ["PAIRS", "Better", "Measure", "Side", "line", "of_features", "suite"]

PAIRS = 300  # of images compared by MS-SSIM in each draw; of the real images twice as many, of which halves have 1 / 4


def suite(real: Side, draws: Sequence[Side], *, splits: int, seed: int) -> list[Measure]:
    """All measures of the draws of one generator against the real images.

    A draw whose images are all alike is measured (recall 0, MS-SSIM 1); density and skin line of breasts are left out
    where half of a draw's images or more show no breast: see `breast_found`.

    Args:
        real: with patients.
        draws: fresh draws of the generator, all of one size; from five on, every measure has an interval.
        splits: number of pairs of patient-disjoint halves for the floors.
        seed: of halves, and of the draws' images compared with them.

    Raises:
        EvaluationError: images that are not grey levels, several sizes, fewer than 2 k images in a half or in a draw,
            draws of several sizes, real images that are all alike, of one patient, or without patients; features that
            do not belong to the images, or of another protocol.
    """
    plan = plan_of(real, draws, splits, seed)
    real_images = checked(real.images, "real")
    drawn_images = [checked(draw.images, "synthetic") for draw in draws]
    _insist_on_one_size(real_images, drawn_images)
    if all(np.array_equal(image, real_images[0]) for image in real_images[1:]):
        raise EvaluationError(f"the {len(real_images)} real images are all the same image; look at prepared/train.npy")
    return [
        *of_features(real, draws, splits=splits, seed=seed),
        *_of_spectra(plan, real_images, drawn_images),
        *_of_greys(plan, real_images, drawn_images),
        _of_structure(plan, real_images, drawn_images),
        *_of_breasts(plan, real_images, drawn_images),
        *_of_labels(plan, real, draws),
    ]


def of_features(real: Side, draws: Sequence[Side], *, splits: int, seed: int) -> list[Measure]:
    """The measures that need the features alone: Frechet and kernel distance, precision, recall, density, coverage.

    They are called `fid`, `kid`, `precision` ... for the FID network; for another extractor `fd_<extractor>`,
    `kd_<extractor>`, `precision_<extractor>` ...

    Raises:
        EvaluationError: as `suite`.
    """
    plan = plan_of(real, draws, splits, seed)
    standard = real.protocol == PROTOCOL
    if not standard and not real.extractor:
        raise EvaluationError(
            f"features of the protocol {real.protocol} are not of the FID network; give the name of their extractor"
        )
    of = "" if standard else f"_{real.extractor}"
    frechet, kernel = ("fid", "kid") if standard else (f"fd{of}", f"kd{of}")
    x, drawn = real.features, [draw.features for draw in draws]
    kid = intervals.of_kid(x, plan.patients, drawn)

    def shares(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, ...]:
        found = neighbours.neighbours(a, b)
        return found.precision, found.recall, found.density, found.coverage

    balls: dict[str, Better] = {f"{name}{of}": "higher" for name in ("precision", "recall", "density", "coverage")}
    return [
        *compare(plan, {frechet: "lower"}, real.protocol, lambda a, b: (frechet_distance(a, b),), x, drawn),
        *compare(plan, {kernel: "lower"}, real.protocol, lambda a, b: (kernel_distance(a, b),), x, drawn, kid),
        *compare(plan, balls, f"{real.protocol} k{neighbours.K}", shares, x, drawn),
    ]


def _insist_on_one_size(real: NDArray[np.uint8], draws: Sequence[NDArray[np.uint8]]) -> None:
    sizes = sorted({images.shape[-1] for images in (real, *draws)})
    if len(sizes) > 1:
        raise EvaluationError(
            f"real images are {real.shape[-1]} px wide and the others among {sizes} px; compare images of one size"
        )


def _of_spectra(plan: Plan, real: NDArray[np.uint8], draws: Sequence[NDArray[np.uint8]]) -> list[Measure]:
    def gaps(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, ...]:
        return (
            spectrum.spectrum_distance(a, b),
            abs(spectrum.spectrum_exponent(a) - spectrum.spectrum_exponent(b)),
        )

    names: dict[str, Better] = {"spectrum_distance": "lower", "spectrum_exponent_gap": "lower"}
    spectra = [spectrum.radial_spectra(images) for images in draws]
    return compare(plan, names, "dct-radial-to-corner log10", gaps, spectrum.radial_spectra(real), spectra)


def _of_greys(plan: Plan, real: NDArray[np.uint8], draws: Sequence[NDArray[np.uint8]]) -> list[Measure]:
    shares = [grey.histograms(images) for images in draws]
    return compare(
        plan,
        {"grey_wasserstein": "lower"},
        "8-bit grey levels",
        lambda a, b: (grey.grey_wasserstein(a, b),),
        grey.histograms(real),
        shares,
    )


def _of_structure(plan: Plan, real: NDArray[np.uint8], draws: Sequence[NDArray[np.uint8]]) -> Measure:
    pairs = structure.random_pairs(plan.patients, 2 * PAIRS, plan.seed)
    of_real = structure.ms_ssim(real, pairs)
    within = [np.isin(pairs, half).all(axis=1) for halves in plan.halves for half in halves]
    of_halves = [float(of_real[pairs_of_half].mean()) for pairs_of_half in within if pairs_of_half.any()]
    of_draws = [
        float(structure.ms_ssim(images, structure.random_pairs(range(len(images)), PAIRS, plan.seed + i)).mean())
        for i, images in enumerate(draws)
    ]
    return measure_of(
        plan,
        "ms_ssim",
        intervals.of_draws(of_draws),
        "near_floor",
        floor=float(of_real.mean()),
        floor_sd=float(np.std(of_halves, ddof=1)),
        at_floor_n=None,
        protocol=f"{structure.scales(real.shape[-1])} scales, {PAIRS} pairs",
    )


def _of_breasts(plan: Plan, real: NDArray[np.uint8], draws: Sequence[NDArray[np.uint8]]) -> list[Measure]:
    of_real, of_draws = breasts.measure_breasts(real), [breasts.measure_breasts(images) for images in draws]
    found = [(breast.area > 0).astype(np.float64) for breast in (of_real, *of_draws)]
    measures = [mean_of_images(plan, "breast_found", "breast outline", found[0], found[1:])]
    for name, key in (("breast_area", "area"), ("density_share", "density"), ("skin_sharpness", "sharpness")):
        x, *drawn = (getattr(breast, key) for breast in (of_real, *of_draws))
        if any(np.isfinite(values).mean() <= 0.5 for values in (x, *drawn)):
            continue
        measures.append(mean_of_images(plan, name, "breast outline", x, drawn))
        measures += compare(plan, {f"{name}_distance": "lower"}, "breast outline", _wasserstein, x, drawn)
    return measures


def _of_labels(plan: Plan, real: Side, draws: Sequence[Side]) -> list[Measure]:
    """Balance of each label that real images and all draws bear."""
    measures = []
    for name, labels in real.labels.items():
        sides = [np.asarray(labels), *(np.asarray(draw.labels.get(name, [])) for draw in draws)]
        if not all((side != "").any() for side in sides):
            continue
        measures += compare(
            plan,
            {f"{name}_imbalance": "lower"},
            "labels",
            lambda a, b: (breasts.imbalance(a.tolist(), b.tolist()),),
            sides[0],
            sides[1:],
        )
    return measures


def _wasserstein(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, ...]:
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    return (float(wasserstein_distance(a, b)),)
