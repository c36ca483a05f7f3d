"""What damage to real mammograms does to every measure: half of the patients stand for real, the other half is damaged.

Reads a folder that `mammogan prepare` wrote. In each split by patient, the measures of the second half as it is are
the scale: a damage counts by how many standard deviations over the splits it lies beyond it. The last line is one JSON
object.
"""

import argparse
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mammogan.data.tiles import Tiles, read_tiles, to_8_bits
from mammogan.evaluation import weights
from mammogan.evaluation.features import cached_features, features
from mammogan.evaluation.halves import patient_halves
from mammogan.evaluation.inception import load_inception
from mammogan.evaluation.suite import Side, suite
from measuring import last_line

Images = NDArray[np.uint8]
Damage = Callable[[NDArray[np.float64]], NDArray[np.float64]]

KEPT = 20  # images that a collapsed generator repeats

DAMAGES: dict[str, Damage] = {
    "none": lambda x: x,
    "blur 1 px": lambda x: gaussian_filter(x, (0, 1, 1)),
    "blur 2 px": lambda x: gaussian_filter(x, (0, 2, 2)),
    "noise 8": lambda x: x + np.random.default_rng(0).normal(0, 8, x.shape),
    "checkerboard 6": lambda x: x + 6 * (1 - 2 * (np.indices(x.shape[1:]).sum(axis=0) % 2)),
    "contrast 0.8x+10": lambda x: 0.8 * x + 10,
    "16 blocks shuffled": lambda x: np.stack([shuffled(image, np.random.default_rng(i)) for i, image in enumerate(x)]),
    "up": lambda x: np.roll(x, -1, axis=1),
    "down, brighter": lambda x: 1.02 * np.roll(x, 1, axis=1),
    "darker": lambda x: 0.97 * x,
}
ALIKE = ("none", "up", "down, brighter", "darker")  # the ways in which a collapsed generator varies its images


def shuffled(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The image (S, S) with its 4 x 4 blocks in another order."""
    side = len(image) // 4
    blocks = image.reshape(4, side, 4, side).swapaxes(1, 2).reshape(16, side, side)
    return rng.permutation(blocks).reshape(4, 4, side, side).swapaxes(1, 2).reshape(image.shape)


def damaged_sides(tiles: Tiles, cache: Path, progress: Callable[[str], None]) -> dict[str, Side]:
    """The images under every damage, with features and patients."""
    file = weights.find_weights(None)
    net = load_inception(file)
    real = to_8_bits(tiles.images)
    sides = {}
    for name, damage in DAMAGES.items():
        images: Images = np.rint(damage(real.astype(np.float64))).clip(0, 255).astype(np.uint8)
        sha = dataclasses.replace(tiles, images=images).sha256
        compute = functools.partial(features, net, images, 16, lambda n: None)
        found = cached_features(weights.WEIGHTS_SHA256, sha, compute, cache)
        sides[name] = Side(images, found, tiles.patients)
        progress(name)
    return sides


def part(side: Side, chosen: NDArray[np.intp]) -> Side:
    assert side.patients is not None
    return Side(side.images[chosen], side.features[chosen], [side.patients[i] for i in chosen])


def collapsed(sides: dict[str, Side], half: NDArray[np.intp]) -> Side:
    """As many images as the half has, but only `KEPT` different ones, each in four ways that hardly differ."""
    kept = half[np.arange(len(half)) % KEPT]
    ways = [sides[ALIKE[i // KEPT % len(ALIKE)]] for i in range(len(half))]
    return Side(
        np.stack([way.images[i] for way, i in zip(ways, kept, strict=True)]),
        np.stack([way.features[i] for way, i in zip(ways, kept, strict=True)]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("prepared", type=Path, metavar="PREPARED", help="folder of mammogan prepare")
    parser.add_argument("--splits", type=int, default=10, metavar="N")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), metavar="FOLDER", help="keeps features")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    start = time.process_time()
    tiles = read_tiles(options.prepared, "train")
    sides = damaged_sides(tiles, options.cache, lambda name: print(f"features: {name}", flush=True))
    values: dict[str, dict[str, list[float]]] = {}
    halves = patient_halves(tiles.patients, options.splits, seed=0)
    for first, second in halves:
        fakes = {name: part(side, second) for name, side in sides.items() if name == "none" or name not in ALIKE}
        fakes["collapse"] = collapsed(sides, second)
        for name, fake in fakes.items():
            for measure in suite(part(sides["none"], first), [fake], splits=2, seed=0):
                values.setdefault(measure.name, {}).setdefault(name, []).append(measure.value)
        print(".", end="", flush=True)
    table = {measure: summary(of) for measure, of in values.items()}
    print()
    for measured, row in table.items():
        cells = [f"{name} {value:.4g} ({sds:+.0f})" for name, (value, sds) in row.items()]
        print(f"{measured:24} {', '.join(cells)}")
    result = {
        "bench": "damage",
        "n": len(halves[0][0]),
        "resolution": tiles.resolution,
        "splits": options.splits,
        "cpu_s": round(time.process_time() - start),
    }
    last_line({**result, "mean_and_sds_beyond_none": table}, options.out)


def summary(of: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    """Mean of each damage, and how many standard deviations of the undamaged halves it lies beyond their mean."""
    mean, sd = statistics.fmean(of["none"]), statistics.stdev(of["none"])
    means = {name: statistics.fmean(values) for name, values in of.items()}
    return {name: (float(f"{m:.4g}"), round((m - mean) / sd, 1) if sd else 0.0) for name, m in means.items()}


if __name__ == "__main__":
    main()
