"""Mammogram-like phantoms: pictures that stand in for mammograms where there are none (docs/phantom.md)."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from mammogan.atomic import new_folder
from mammogan.config import PhantomConfig
from mammogan.data.phantom_findings import FINDINGS, finding_at
from mammogan.data.phantom_shape import WIDTH, Points, Shape, draw_build, draw_shape
from mammogan.data.phantom_tissue import (
    duct_paths,
    lines,
    power_law,
    strands,
    towards_nipple,
    vessel_paths,
)
from mammogan.errors import DataError

LATERALITIES = ("L", "R")
VIEWS = ("CC", "MLO")
DENSITIES = ("A", "B", "C", "D")
ABOUT = """# Phantoms: pictures drawn by a program, of no patient

Made by `mammogan phantom`; docs/phantom.md says how. They stand in for mammograms where there are none.
"""
COLUMNS = ("image_id", "file", "patient_id", "laterality", "view", "density", "cancer", "finding")

_DENSITY_SHARES = (0.10, 0.40, 0.40, 0.10)  # of screened women: BI-RADS atlas, 5th edition
_FINDING_SHARE = 0.28  # of the patients, in one breast
_MALIGNANT_SHARE = {"none": 0.0, "mass": 0.0, "spiculated_mass": 1.0, "calcifications": 0.5}

# Level that the gland field must exceed, and brightness of gland over fat, for each density class.
_THRESHOLD = {"A": 1.45, "B": 0.55, "C": -0.35, "D": -1.25}
_GLAND = {"A": 0.17, "B": 0.22, "C": 0.27, "D": 0.30}


def draw(
    seed: int, laterality: str, view: str, density: str, finding: str, height_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """One phantom: image uint8 (height_px, 0.7 height_px), and the mask of its breast, bool, same shape.

    The image is 0 outside the breast and at least 1 in it; bright is dense. The mask is exact: the picture is
    painted into it.

    `seed` names the patient: her images share size, build and exposure; texture differs by breast and view. A
    finding lies in both views of a breast at the same distance from the nipple, and changes nothing else. The
    same arguments at another height give the same breast, finer or coarser.

    Raises:
        DataError: an argument is none of the known words, the seed negative or the height below 64 px.
    """
    for name, value, known in (
        ("laterality", laterality, LATERALITIES),
        ("view", view, VIEWS),
        ("density", density, DENSITIES),
        ("finding", finding, FINDINGS),
    ):
        if value not in known:
            raise DataError(f"phantom: {name} is {value!r}; give one of {', '.join(known)}")
    if height_px < 64 or seed < 0:
        raise DataError(f"phantom: height {height_px} px, seed {seed}; give at least 64 px and a seed from 0 up")

    chance = _Chance(seed, 1 + LATERALITIES.index(laterality), 1 + VIEWS.index(view))
    shape = draw_shape(chance.of_view("shape"), draw_build(chance.of_patient("build")), view)
    pixel = 1 / height_px
    rows, columns = np.mgrid[0:height_px, 0 : round(WIDTH * height_px)]
    x, y = (columns + 0.5) * pixel, (rows + 0.5) * pixel
    mask = shape.inside(x, y)
    level = _levels(chance, shape, density, finding, x[mask], y[mask], pixel)
    image = np.zeros(mask.shape, np.uint8)
    image[mask] = np.clip(np.rint(255 * level), 1, 255)
    if laterality == "R":  # all is drawn as a left breast
        image, mask = image[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def phantom(config: PhantomConfig, out: Path) -> None:
    """Write `patients` x (L, R) x (CC, MLO) phantoms: labels.csv, SOURCE.md and 8-bit images/<image_id>.png in `out`.

    An earlier set of phantoms at `out` is replaced once the new one is complete.

    Raises:
        DataError: `out` holds anything else, which would be lost.
    """
    _refuse_to_replace_other_data(out)
    cases = list(_cases(config))
    with new_folder(out) as folder:
        (folder / "images").mkdir()
        (folder / "SOURCE.md").write_text(ABOUT, encoding="utf-8", newline="\n")
        with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for case in tqdm(cases, desc="phantoms", unit="image"):
                image, _ = draw(case.seed, case.laterality, case.view, case.density, case.finding, config.height_px)
                name = f"images/{case.image_id}.png"
                Image.fromarray(image).save(folder / name, optimize=True)
                table.writerow(
                    (
                        case.image_id,
                        name,
                        case.patient_id,
                        case.laterality,
                        case.view,
                        case.density,
                        int(case.cancer),
                        case.finding,
                    )
                )


@dataclass(frozen=True)
class _Case:
    seed: int
    patient_id: str
    laterality: str
    view: str
    density: str
    finding: str
    cancer: bool

    @property
    def image_id(self) -> str:
        return f"{self.patient_id}_{self.laterality}_{self.view}"


def _cases(config: PhantomConfig) -> Iterator[_Case]:
    for number in range(1, config.patients + 1):
        seed = int(SeedSequence([config.seed, number]).generate_state(1, np.uint64)[0])
        rng = _Chance(seed, 0, 0).of_patient("case")
        density = str(rng.choice(DENSITIES, p=_DENSITY_SHARES))
        has_finding = rng.uniform() < _FINDING_SHARE
        side = str(rng.choice(LATERALITIES))
        finding = str(rng.choice(FINDINGS[1:]))
        cancer = rng.uniform() < _MALIGNANT_SHARE[finding]
        for laterality, view in product(LATERALITIES, VIEWS):
            shown = has_finding and laterality == side
            yield _Case(
                seed,
                f"P{number:04d}",
                laterality,
                view,
                density,
                finding if shown else "none",
                bool(shown and cancer),
            )


def _refuse_to_replace_other_data(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    labels = out / "labels.csv"
    if labels.is_file() and labels.read_text(encoding="utf-8", errors="replace").startswith(",".join(COLUMNS)):
        return
    raise DataError(f"{out} holds something other than phantoms; give a new or empty folder")


def _levels(chance: "_Chance", shape: Shape, density: str, finding: str, x: Points, y: Points, pixel: float) -> Points:
    """Grey level 0 to 1 of the points (x, y) (n,) in the breast; `pixel` is a pixel's side."""
    look = chance.of_patient("look")
    fat = look.uniform(0.09, 0.14)
    contrast = look.uniform(0.9, 1.2)
    threshold = _THRESHOLD[density] + look.uniform(-0.25, 0.25)
    muscle_level = look.uniform(0.24, 0.36)
    skin_level = look.uniform(0.06, 0.18)
    margin = look.uniform(0.04, 0.08)  # width of the edge in which the compressed breast is thin
    finest = 1.5 / pixel  # lattice cells; the spectrum then keeps its slope up to the pixel's limit
    thinnest = 0.5 / pixel
    depth = shape.depth(x, y)

    # Coordinates that fan out from the nipple, bent by a smooth field, so that no strand is quite straight.
    r, angle = towards_nipple(shape, x, y)
    rng = chance.of_view("bend")
    bend_x, bend_y = (0.06 * power_law(rng, x, y, 24) for _ in range(2))
    u, v = 0.5 * (r + bend_x), 0.75 * (angle + 1.8 * bend_y)

    # Fibroglandular tissue: a fan behind the nipple that the power-law field breaks up; fat under the skin.
    field = power_law(chance.of_view("gland"), 0.75 * x + 0.25 * u, 0.75 * y + 0.25 * v, finest)
    rng = chance.of_view("fan")
    along = (x / shape.nipple[0] - rng.uniform(0.42, 0.56)) / 0.40
    across = (y - shape.nipple[1] + rng.uniform(-0.02, 0.05)) / (0.21 + 0.1 * shape.nipple[0])
    fan = 2.3 - 1.9 * (along**2 + across**2) - 2.6 * np.clip(1 - depth / 0.07, 0, 1)
    gland = 1 / (1 + np.exp(-2.2 * (fan + 1.25 * field - threshold)))

    grain = power_law(chance.of_view("grain"), x, y, finest, coarsest=6)
    fibre = strands(chance.of_view("fibre"), u, v, thinnest, coarsest=9)
    ligament = strands(chance.of_view("ligament"), x + 0.6 * bend_x, y + 0.6 * bend_y, thinnest, coarsest=7)
    ducts = lines(x, y, duct_paths(chance.of_view("ducts"), shape), 0.6 * pixel)
    vessels = lines(x, y, vessel_paths(chance.of_view("vessels"), shape), 0.6 * pixel)
    tissue = _GLAND[density] * gland * (1 + 0.34 * grain)
    tissue += (0.16 + 0.24 * gland) * (0.6 * fibre + ligament)
    tissue += 0.022 * grain + 0.07 * (0.35 + 0.65 * gland) * ducts + 0.09 * vessels

    muscle = shape.in_pectoral(x, y, 0.03)
    streaks = power_law(chance.of_view("muscle"), 2 * (x - 0.5 * y), 0.6 * (y + 0.5 * x), 40)
    level = fat + contrast * tissue * (1 - 0.5 * muscle)
    level += muscle * (muscle_level + 0.33 * shape.pectoral_depth(x, y) + 0.025 * streaks)

    if finding != "none":
        breast, seen = chance.of_breast("finding"), chance.of_view("finding")
        level += 0.34 * (1 + 0.25 * grain) * finding_at(breast, seen, shape, finding, x, y, pixel)

    # Towards the skin the breast is thin; the skin, seen edge on, is a fine brighter line of uneven strength.
    level *= 0.45 + 0.55 * np.sqrt(1 - np.clip(1 - depth / margin, 0, 1) ** 2)
    width = max(0.0035, 0.6 * pixel)
    strength = np.clip(1 + 0.6 * power_law(chance.of_view("skin"), x, y, 12, coarsest=1.5), 0.2, 2)
    level += skin_level * min(1, 0.0035 / width + 0.3) * strength * np.exp(-(((depth - 0.006) / width) ** 2))
    level *= np.clip(0.35 + depth / (1.5 * pixel), 0, 1)
    level += 0.25 * np.sqrt(shape.in_nipple(x, y)) * np.exp(-depth / 0.012)
    return _shoulder(level)


def _shoulder(level: Points) -> Points:
    """The end of the film curve: highlights approach white instead of being clipped."""
    knee = 0.72
    over = np.maximum(level - knee, 0)
    return np.minimum(level, knee) + (1 - knee) * (1 - np.exp(-over / (1 - knee)))


@dataclass(frozen=True)
class _Chance:
    """Random streams by name: one for all images of a patient, both views of a breast, or one view."""

    seed: int
    side: int  # from 1
    view: int  # from 1

    def of_patient(self, name: str) -> Generator:
        return self._stream(name, 0, 0)

    def of_breast(self, name: str) -> Generator:
        return self._stream(name, self.side, 0)

    def of_view(self, name: str) -> Generator:
        return self._stream(name, self.side, self.view)

    def _stream(self, name: str, side: int, view: int) -> Generator:
        word = int.from_bytes(name.encode(), "big")
        return Generator(PCG64(SeedSequence([self.seed, side, view, word])))
