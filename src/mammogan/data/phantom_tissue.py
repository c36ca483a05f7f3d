"""Power-law parenchyma, strands, ducts and vessels of a phantom breast."""

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from mammogan.data.phantom_shape import Points, Shape

SPECTRUM_EXPONENT = 3.0  # P(f) ~ 1 / f^3 in mammograms: Burgess et al. 2001, Med Phys 28:419; Chen et al. 2012
COARSEST = 3.0  # lattice cells an image height in the first octave


def power_law(rng: Generator, u: Points, v: Points, finest: float, coarsest: float = COARSEST) -> Points:
    """Gaussian field with P(f) ~ 1 / f^3 at the points (u, v) (n,), about zero mean and unit variance.

    Octaves of cubic B-spline noise on lattices of `coarsest`, twice, four times ... up to `finest` cells a
    unit length. An octave of f cells has a flat spectrum below about f / 2, so amplitudes f^(-1/2), that is
    powers f^(-1) spread over an area f^2, add up to 1 / f^3. Octaves instead of a Fourier transform: the
    same tissue comes out at every picture size, and no FFT library rounds differently on another machine.
    """
    total = np.zeros_like(u)
    power = 0.0
    for cells in octaves(coarsest, finest):
        amplitude = cells ** (-(SPECTRUM_EXPONENT - 2) / 2)
        total += amplitude * lattice_noise(rng, u, v, cells)
        power += amplitude**2
    return total / math.sqrt(power)


def octaves(coarsest: float, finest: float) -> list[float]:
    """`coarsest` and its doublings up to `finest`."""
    return [coarsest * 2.0**k for k in range(int(np.floor(np.log2(max(finest / coarsest, 1)))) + 1)]


def lattice_noise(rng: Generator, u: Points, v: Points, cells: float) -> Points:
    """Smooth noise of unit variance at (u, v) (n,): cubic B-splines over white noise on a turned lattice."""
    side = int(np.ceil(1.5 * cells)) + 4
    lattice = rng.standard_normal((side, side))
    angle, shift_u, shift_v = rng.uniform(0, 2 * np.pi), rng.uniform(0, side), rng.uniform(0, side)
    c, s = np.cos(angle) * cells, np.sin(angle) * cells
    at = np.stack([c * u - s * v + shift_u, s * u + c * v + shift_v])
    noise: Points = map_coordinates(lattice, at, order=3, mode="grid-wrap", prefilter=False)
    return np.asarray(noise * (315 / 151))  # the mean square of the B-spline weights is (151 / 315)^2


def strands(rng: Generator, u: Points, v: Points, finest: float, coarsest: float) -> Points:
    """Thin bright lines, 0 to about 1, at (u, v) (n,), where smooth noise of several octaves changes sign."""
    total = np.zeros_like(u)
    weight = 0.0
    for cells in octaves(coarsest, finest):
        share = 1 / cells
        ridge = 1 - np.minimum(np.abs(lattice_noise(rng, u, v, cells)) / 0.9, 1)
        total += share * ridge**2
        weight += share
    return total / weight


def towards_nipple(shape: Shape, x: Points, y: Points) -> tuple[Points, Points]:
    """Distance of each point (x, y) (n,) from a point just before the nipple, and its angle in radians."""
    dx, dy = shape.nipple[0] + 0.06 - x, y - shape.nipple[1]
    return np.hypot(dx, dy), np.arctan2(dy, dx)


def lines(x: Points, y: Points, paths: list[NDArray[np.float64]], softest: float) -> Points:
    """Brightness 0 to 1 at (x, y) (n,) of soft lines; each path is (m, 3): x, y and half width."""
    samples = np.concatenate(paths)
    reach = 3 * max(softest, float(samples[:, 2].max()))
    found = KDTree(samples[:, :2]).query(np.column_stack([x, y]), distance_upper_bound=reach)
    distance, nearest = np.asarray(found[0]), np.asarray(found[1])
    hit = np.isfinite(distance)
    width = samples[nearest[hit], 2]
    out = np.zeros_like(x)
    blurred = np.maximum(width, softest)
    out[hit] = width / blurred * np.exp(-((distance[hit] / blurred) ** 2))  # a line thinner than a pixel is fainter
    return out


def duct_paths(rng: Generator, shape: Shape) -> list[NDArray[np.float64]]:
    """Lactiferous ducts: 8 to 13 trees that start behind the nipple, fan out to the chest wall and fork."""
    paths: list[NDArray[np.float64]] = []
    start = (shape.nipple[0] - 0.01, shape.nipple[1])
    for fan in np.linspace(-1, 1, int(rng.integers(8, 14))):
        angle = np.pi + 0.95 * fan + rng.normal(0, 0.08)
        _grow(rng, paths, start, angle, 0.0040, rng.uniform(0.4, 0.75) * shape.nipple[0], 3)
    return paths


def _grow(
    rng: Generator,
    paths: list[NDArray[np.float64]],
    start: tuple[float, float],
    angle: float,
    width: float,
    length: float,
    forks: int,
) -> None:
    steps = 30
    part = length * (1.0 if forks == 0 else rng.uniform(0.35, 0.55))
    headings = angle + np.cumsum(rng.normal(0, 0.10, steps))
    x = start[0] + np.cumsum(np.cos(headings)) * part / steps
    y = start[1] + np.cumsum(np.sin(headings)) * part / steps
    paths.append(np.column_stack([x, y, np.linspace(width, 0.8 * width, steps)]))
    if forks == 0:
        return
    for turn in (-1, 1):
        _grow(
            rng,
            paths,
            (float(x[-1]), float(y[-1])),
            float(headings[-1]) + turn * rng.uniform(0.15, 0.5),
            0.75 * width,
            length - part,
            forks - 1,
        )


def vessel_paths(rng: Generator, shape: Shape) -> list[NDArray[np.float64]]:
    """Two to five winding vessels of even width, from the chest wall towards the nipple."""
    paths = []
    for _ in range(int(rng.integers(2, 6))):
        steps = 160
        t = np.linspace(0, 1, steps)
        y_wall = shape.nipple[1] + rng.uniform(-0.38, 0.38)
        reach = shape.nipple[0] * rng.uniform(0.55, 0.92)
        y_tip = shape.nipple[1] + (y_wall - shape.nipple[1]) * rng.uniform(0.25, 0.7)
        wave = sum(rng.normal(0, 0.022 / k) * np.sin(2 * np.pi * (k * t + rng.uniform())) for k in (1, 2, 4, 7))
        paths.append(
            np.column_stack(
                [
                    reach * t,
                    y_wall + (y_tip - y_wall) * t**1.5 + wave,
                    np.full(steps, rng.uniform(0.0025, 0.0045)),
                ]
            )
        )
    return paths
