"""The suite: what it says of good, damaged and collapsed generators, and what it refuses."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mammogan.errors import EvaluationError
from mammogan.evaluation.features import PROTOCOL
from mammogan.evaluation.suite import Measure, Side, line, of_features, suite

N, SIDE = 40, 32
OF_FEATURES = ["fid", "kid", "precision", "recall", "density", "coverage"]
OF_BREASTS = ["breast_area", "density_share", "skin_sharpness"]


def breasts(seed: int, n: int = N) -> NDArray[np.uint8]:
    """Cloudy half disks of several sizes, chest wall at the left edge."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:SIDE, :SIDE]
    radius = rng.uniform(10, 15, (n, 1, 1))
    clouds = gaussian_filter(rng.standard_normal((n, SIDE, SIDE)), (0, 1, 1))
    inside = (y - SIDE / 2) ** 2 + x**2 < radius**2
    return np.where(inside, 110 + 100 * clouds, 0).clip(0, 255).astype(np.uint8)


def features_of(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A stand-in for the network: means and contrasts of 16 blocks."""
    blocks = images.reshape(-1, 4, SIDE // 4, 4, SIDE // 4).astype(np.float32)
    return np.concatenate([blocks.mean(axis=(2, 4)), blocks.std(axis=(2, 4))], axis=1).reshape(len(images), -1) / 64


def side(images: NDArray[np.uint8], **more: object) -> Side:
    return Side(images, features_of(images), **more)


def measured(fakes: list[Side], real: Side) -> dict[str, Measure]:
    return {measure.name: measure for measure in suite(real, fakes, splits=4, seed=0)}


@pytest.fixture(scope="module")
def real() -> Side:
    return side(breasts(0), patients=[f"P{i // 2}" for i in range(N)], labels={"view": ["CC", "MLO"] * (N // 2)})


@pytest.fixture(scope="module")
def good(real: Side) -> dict[str, Measure]:
    """Five draws of a generator as good as can be: of the same distribution."""
    return measured([side(breasts(seed), labels={"view": ["CC"] * N}) for seed in range(1, 6)], real)


def test_the_suite_has_every_measure_once(real, good):
    names = [*OF_FEATURES, "spectrum_distance", "spectrum_exponent_gap", "grey_wasserstein", "ms_ssim", "breast_found"]
    names += [f"{name}{of}" for name in OF_BREASTS for of in ("", "_distance")]
    assert list(good) == [*names, "view_imbalance"]


def test_a_perfect_generator_is_at_the_floor_in_everything(good):
    for measure in good.values():
        if measure.name == "view_imbalance":
            continue
        at_floor = measure.value if measure.at_floor_n is None else measure.at_floor_n
        assert abs(at_floor - measure.floor) <= 5 * measure.floor_sd + 0.05, measure
    assert good["fid"].ratio == pytest.approx(1, abs=0.4)
    assert good["kid"].ratio is None  # its floor is 0


def test_what_is_compared_stands_beside_it(real, good):
    fid = good["fid"]
    assert (fid.n_real, fid.n_fake, fid.n_draws, fid.floor_n) == (N, N, 5, N // 2)
    assert fid.at_floor_n > fid.value  # fewer images, more bias
    assert fid.protocol == PROTOCOL
    assert good["view_imbalance"].value == 0.5  # half of the real images are MLO, none of the synthetic ones


def test_five_draws_give_every_measure_an_interval_and_four_the_kid_alone(real, good):
    for measure in good.values():
        assert measure.low <= measure.value <= measure.high, measure.name
    few = measured([side(breasts(seed)) for seed in range(1, 5)], real)
    assert [name for name, measure in few.items() if measure.low is not None] == ["kid"]


def test_damage_moves_the_measures_that_are_there_for_it(real, good):
    def beyond(name: str, images: NDArray[np.floating]) -> float:
        found = measured([side(images.clip(0, 255).astype(np.uint8))], real)[name]
        at_floor = found.value if found.at_floor_n is None else found.at_floor_n
        return (at_floor - found.floor) / found.floor_sd

    fresh = breasts(9).astype(float)
    blurred = gaussian_filter(fresh, (0, 1, 1))
    assert beyond("spectrum_distance", blurred) > 5
    assert beyond("skin_sharpness", blurred) < -5
    assert beyond("spectrum_distance", fresh + 6 * (np.indices((SIDE, SIDE)).sum(axis=0) % 2)) > 5
    assert beyond("grey_wasserstein", 0.6 * fresh + 20) > 5


def test_a_collapsed_generator_is_measured_not_refused(real, good):
    same = measured([side(np.repeat(breasts(9, 1), N, axis=0))] * 5, real)
    assert same["recall"].value == 0
    assert same["ms_ssim"].value == pytest.approx(1)
    assert same["ms_ssim"].value > same["ms_ssim"].floor + 5 * same["ms_ssim"].floor_sd
    assert same["breast_area_distance"].value > 3 * good["breast_area_distance"].value


def test_black_images_have_no_breast_to_measure(real):
    black = measured([side(np.zeros((N, SIDE, SIDE), np.uint8))], real)
    assert black["breast_found"].value == 0
    assert black["breast_found"].floor == 1
    assert black["breast_area"].value == 0
    assert not {"density_share", "skin_sharpness"} & set(black)
    assert all(np.isfinite(measure.value) for measure in black.values())


def test_sixteen_bits_score_as_their_eight(real):
    fake = side(breasts(1))
    fine = [
        dataclasses.replace(one, images=one.images.astype(np.uint16)[:, None] * 257) for one in (real, fake)
    ]  # and with a channel
    assert suite(fine[0], [fine[1]], splits=2, seed=0) == suite(real, [fake], splits=2, seed=0)


def test_another_extractor_has_names_of_its_own(real):
    other = dataclasses.replace(real, protocol="lite0_pil-bicubic224", extractor="lite0")
    fake = dataclasses.replace(side(breasts(1)), protocol="lite0_pil-bicubic224")
    found = of_features(other, [fake], splits=2, seed=0)
    assert [measure.name for measure in found] == [
        "fd_lite0", "kd_lite0", "precision_lite0", "recall_lite0", "density_lite0", "coverage_lite0",
    ]  # fmt: skip
    assert line(found).startswith("fd_lite0 ")
    assert line(found).endswith(", lite0 pil-bicubic224")
    with pytest.raises(EvaluationError, match="give the name of their extractor"):
        of_features(dataclasses.replace(other, extractor=""), [fake], splits=2, seed=0)


def test_one_line_tells_all(good):
    fid = dataclasses.replace(
        good["fid"], value=71.23, low=68.94, high=73.98, floor=33.6, floor_sd=0.5, floor_n=905, at_floor_n=70.6,
        n_real=1821, n_fake=1821,
    )  # fmt: skip
    assert line([good["kid"], fid]) == (
        "FID 71.2 [68.9, 74.0], N 1821/1821, floor 33.6 (N 905/905, there FID 70.6), ratio 2.1,"
        " inception20151205 pil-bicubic299"
    )
    assert line([dataclasses.replace(fid, low=None, high=None)]).startswith("FID 71.2, N 1821/1821")
    with pytest.raises(EvaluationError, match="no Frechet distance among the measures: kid"):
        line([good["kid"]])


def changed(one: Side, **changes: object) -> Side:
    return dataclasses.replace(one, **changes)


BAD = {
    "float real": (lambda r, f: (changed(r, images=r.images / np.float32(255)), [f]), "real images are float32"),
    "float fake": (lambda r, f: (r, [changed(f, images=f.images / 255)]), "synthetic images are float64"),
    "mixed sizes": (
        lambda r, f: (r, [changed(f, images=[*f.images[1:], np.zeros((64, 64), np.uint8)])]),
        r"synthetic images have 2 sizes \(32 x 32, 64 x 64\)",
    ),
    "another size": (
        lambda r, f: (r, [changed(f, images=f.images.repeat(2, 1).repeat(2, 2))]),
        r"real images are 32 px wide and the others among \[32, 64\] px",
    ),
    "not square": (lambda r, f: (r, [changed(f, images=f.images[:, :20])]), r"images have shape \(40, 20, 32\)"),
    "one real image": (
        lambda r, f: (changed(r, images=np.repeat(r.images[:1], N, 0)), [f]),
        "the 40 real images are all the same image",
    ),
    "one patient": (lambda r, f: (changed(r, patients=["P0"] * N), [f]), "patients: 1, cannot be split by patient"),
    "no patients": (lambda r, f: (changed(r, patients=None), [f]), "the real images have no patients"),
    "a patient missing": (lambda r, f: (changed(r, patients=r.patients[1:]), [f]), "40 real images but 39 patient ids"),
    "few real": (
        lambda r, f: (changed(r, images=r.images[:18], features=r.features[:18], patients=r.patients[:18]), [f]),
        r"18 real images of 9 patients .* leave 8 images a side .* need at least 10",
    ),
    "few fakes": (
        lambda r, f: (r, [changed(f, images=f.images[:9], features=f.features[:9])]),
        "9 synthetic ones leave 9 images a side",
    ),
    "draws of several sizes": (
        lambda r, f: (r, [f, changed(f, images=f.images[1:], features=f.features[1:])]),
        "the draws have 39, 40 images; give all the same number",
    ),
    "no draw": (lambda r, f: (r, []), "there is no synthetic image"),
    "features of others": (lambda r, f: (r, [changed(f, features=f.features[1:])]), "40 synthetic images have 39 rows"),
    "another network": (lambda r, f: (r, [changed(f, protocol="x_y")]), "synthetic ones x_y; use one"),
    "not finite": (
        lambda r, f: (r, [changed(f, features=np.full_like(f.features, np.nan))]),
        "40 of 40 fake images have features that are not finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_what_is_wrong(real, name):
    spoil, message = BAD[name]
    sides = spoil(real, side(breasts(1)))
    with pytest.raises(EvaluationError, match=message):
        suite(*sides, splits=2, seed=0)
