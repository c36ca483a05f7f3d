"""Outline, nipple and pectoral muscle of a phantom breast in the CC and the MLO view.

Lengths are in image heights: y runs down from 0 to 1, x runs from the chest wall to `WIDTH`. All is drawn
for a left breast, chest wall at x = 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import KDTree

WIDTH = 0.7  # image width over image height
CONTOUR_STEPS = 4001
DEEP = 0.1  # what lies deeper under the skin does not depend on how much deeper
HORIZON = 1.1  # the contour goes on a little below the picture, so that the skin does not close at its edge

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Build:
    """What all images of one patient share."""

    size: float  # 0 (small) to 1 (large)
    pointedness: float  # 0 (round) to 1 (conical)
    height: float  # of the breast's centre in the picture, -1 to 1


@dataclass(frozen=True)
class Shape:
    """One breast in one view: contour x(y), nipple and pectoral edge x(y) (negative where there is none)."""

    y: Points  # (CONTOUR_STEPS,)
    x: Points
    nipple: tuple[float, float]  # (x, y) of its base on the contour
    nipple_axes: tuple[float, float]  # half axes along x and y
    pectoral: Points  # (CONTOUR_STEPS,)

    def inside(self, x: Points, y: Points) -> NDArray[np.bool_]:
        """Whether each point lies in the breast, the nipple and the muscle included."""
        return (x < np.interp(y, self.y, self.x)) | (self._nipple_level(x, y) < 1)

    def depth(self, x: Points, y: Points) -> Points:
        """Distance of each point to the skin, at most `DEEP`; 0 in the part of the nipple that stands out."""
        skin = np.flatnonzero(self.x > 0)
        tree = KDTree(np.column_stack([self.x[skin], self.y[skin]]))
        found = tree.query(np.column_stack([x, y]), distance_upper_bound=DEEP)[0]
        distance = np.minimum(np.asarray(found), DEEP)
        return np.where(x < np.interp(y, self.y, self.x), distance, 0)

    def in_nipple(self, x: Points, y: Points) -> Points:
        """1 in the middle of the nipple, falling to 0 at its rim."""
        return np.clip(1 - self._nipple_level(x, y), 0, 1)

    def in_pectoral(self, x: Points, y: Points, softness: float) -> Points:
        """1 in the pectoral muscle, 0 outside, with an edge `softness` wide."""
        return _smooth_step((np.interp(y, self.y, self.pectoral) - x) / softness)

    def pectoral_depth(self, x: Points, y: Points) -> Points:
        """How far each point lies in the muscle, measured along x, at most 0.3."""
        return np.clip(np.interp(y, self.y, self.pectoral) - x, 0, 0.3)

    def _nipple_level(self, x: Points, y: Points) -> Points:
        (x0, y0), (a, b) = self.nipple, self.nipple_axes
        return ((x - x0) / a) ** 2 + ((y - y0) / b) ** 2


def draw_build(rng: Generator) -> Build:
    """The build of one patient."""
    return Build(size=rng.beta(2.2, 2.0), pointedness=rng.uniform(), height=rng.uniform(-1, 1))


def draw_shape(rng: Generator, build: Build, view: str) -> Shape:
    """One breast of a patient in one view; the two sides differ a little, as they do in women."""
    size = float(np.clip(build.size + rng.normal(0, 0.05), 0, 1))
    y = np.linspace(-0.1, HORIZON, CONTOUR_STEPS)
    return (_craniocaudal if view == "CC" else _oblique)(rng, y, size, build)


def _craniocaudal(rng: Generator, y: Points, size: float, build: Build) -> Shape:
    half = 0.35 + 0.17 * size + rng.normal(0, 0.01)
    reach = 0.36 + 0.27 * size + rng.normal(0, 0.015)
    centre = 0.5 + 0.6 * (0.53 - half) * build.height + rng.normal(0, 0.01)
    skew = rng.uniform(-0.18, 0.18)
    t = np.clip((y - centre) / half, -1, 1)
    t = t + skew * (1 - t**2)  # moves the nipple up or down, keeps both ends
    rise = 2.3 - 0.5 * build.pointedness
    fall = 1.75 - 0.5 * build.pointedness
    x = reach * (1 - np.abs(t) ** rise) ** (1 / fall)
    x = np.where(np.abs(y - centre) < half, x, -1.0)
    nipple_y = float(y[np.argmax(x)])
    sliver = rng.uniform(0.01, 0.045) if rng.uniform() < 0.3 else 0.0  # the muscle's edge shows in some CC views
    bow = 1 - ((y - nipple_y - rng.uniform(-0.1, 0.1)) / (0.75 * half)) ** 2
    pectoral = sliver * np.maximum(bow, 0) - 0.02
    return Shape(y, x, (float(x.max()), nipple_y), _nipple_axes(rng), pectoral)


def _oblique(rng: Generator, y: Points, size: float, build: Build) -> Shape:
    reach = 0.40 + 0.25 * size + rng.normal(0, 0.015)
    nipple_y = 0.58 + 0.06 * build.height + 0.05 * size + rng.normal(0, 0.015)
    bottom = min(nipple_y + 0.24 + 0.13 * size + rng.normal(0, 0.01), 1.05)
    axilla = reach * rng.uniform(0.42, 0.62)
    t = np.clip(y / nipple_y, 0, 1)
    bend = rng.uniform(0.25, 0.75)
    rise = bend * t**2 * (3 - 2 * t) + (1 - bend) * t * (2 - t)
    s = np.clip((y - nipple_y) / (bottom - nipple_y), 0, 1)
    fold = max(rng.uniform(-0.05, 0.06), 0)  # the skin below the breast, where the abdomen begins
    fall = (1 - s ** (2.3 - 0.4 * build.pointedness)) ** (1 / (1.7 - 0.4 * build.pointedness))
    upper = axilla + (reach - axilla) * rise
    lower = np.hypot(reach * fall, fold * s**3 * np.clip(1 - (y - bottom) / 0.12, 0, 1)) - 1e-9
    x = np.where(y < nipple_y, upper, lower)
    top = min(axilla * rng.uniform(0.72, 0.95), axilla - 0.03)
    length = rng.uniform(0.42, 0.72)
    down = np.clip(1 - y / length, 0, None)
    wave = 0.012 * np.sin(2 * np.pi * (y * rng.uniform(0.8, 1.6) + rng.uniform()))
    pectoral = np.where(down > 0, top * down ** rng.uniform(0.75, 1.3) + wave * down, -0.02)
    return Shape(y, x, (float(np.interp(nipple_y, y, x)), nipple_y), _nipple_axes(rng), pectoral)


def _nipple_axes(rng: Generator) -> tuple[float, float]:
    return rng.uniform(0.006, 0.020), rng.uniform(0.014, 0.022)


def _smooth_step(t: Points) -> Points:
    t = np.clip(t + 0.5, 0, 1)
    return t * t * (3 - 2 * t)
