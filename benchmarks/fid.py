"""Features, Frechet distance and KID of mammogan against the usual ways to the same numbers.

Features: images of 128 px through `evaluation.features`, resize and all, against the network as its package ships it, a
TorchScript archive, on the same images resized before. Distance, from features, with the real side prepared on all
sides: against the eigenvalues of S1 S2, as torch-fidelity and torchmetrics take them, and scipy's root of that
matrix, as pytorch-fid and clean-fid do. KID over all images at once against 100 subsets of 1,000, as torch-fidelity and
clean-fid draw them. 1,821 images a side, features drawn at random with the falling spectrum of real ones. All sides
in turn in one process on one thread, by CPU time. The last line is one JSON object; `ratio` is that of the features,
`ratio_eigenvalues`, `ratio_sqrtm` and `ratio_kid` are the others, higher is better.
"""

import argparse
import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from PIL import Image

from mammogan.data.phantom import draw
from mammogan.evaluation import weights
from mammogan.evaluation.features import features
from mammogan.evaluation.frechet import Reference
from mammogan.evaluation.inception import FEATURES, load_inception
from mammogan.evaluation.kernel import kernel_distance
from measuring import Ratio, in_turn, last_line

BATCH = 32  # evaluate.batch_size of the settings
TILE_PX = 128
N = 1821  # images a side: the repository of the paper
SUBSETS, SUBSET_SIZE = 100, 1000

Floats = NDArray[np.float32]


def of_features(rounds: int) -> dict[str, Any]:
    file = weights.find_weights(None)
    ours = load_inception(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        shipped = torch.jit.load(str(file)).eval()  # type: ignore[no-untyped-call]
    images = tiles()
    floats = [Image.fromarray(image.astype(np.float32)) for image in images]
    resized = [np.asarray(image.resize((299, 299), Image.Resampling.BICUBIC)) for image in floats]
    grey = torch.from_numpy(np.stack(resized).clip(0, 255))[:, None]
    rgb = ((grey - 128) / 128).expand(-1, 3, -1, -1).contiguous()
    kept: dict[str, Floats] = {}

    def theirs() -> None:
        with torch.inference_mode():
            kept["theirs"] = shipped(rgb).numpy()

    def mine() -> None:
        kept["ours"] = features(ours, images, BATCH, lambda _: None)

    seconds = in_turn({"theirs": theirs, "ours": mine}, rounds)
    difference = float(np.abs(kept["ours"] - kept["theirs"]).max())
    norms = np.linalg.norm(kept["ours"] - kept["theirs"]) / np.linalg.norm(kept["theirs"])
    return told("features", seconds, "theirs", per=BATCH) | {
        "difference": difference,
        "relative_difference": float(norms),
        "largest_feature": float(kept["theirs"].max()),
    }


def of_distance(real: Floats, fake: Floats, rounds: int) -> dict[str, Any]:
    reference = Reference(real)
    mean, S1 = real.mean(axis=0, dtype=np.float64), np.cov(real, rowvar=False)
    kept: dict[str, float] = {}

    def by(name: str) -> None:
        S2 = np.cov(fake, rowvar=False)
        product = S1 @ S2
        if name == "eigenvalues":
            root = np.sqrt(np.linalg.eigvals(product).astype(complex)).real.sum()
        else:
            root = np.trace(scipy.linalg.sqrtm(product)).real
        shift = np.sum((mean - fake.mean(axis=0, dtype=np.float64)) ** 2)
        kept[name] = float(shift + np.trace(S1) + np.trace(S2) - 2 * root)

    def mine() -> None:
        kept["ours"] = reference.frechet(fake)

    sides = {"eigenvalues": lambda: by("eigenvalues"), "sqrtm": lambda: by("sqrtm"), "ours": mine}
    seconds = in_turn(sides, rounds, warm_up=1)
    return {
        name: told(f"distance, {name}", seconds, name)
        | {"relative_difference": abs(kept["ours"] / kept[name] - 1), "value": kept[name]}
        for name in ("eigenvalues", "sqrtm")
    }


def of_kernel(real: Floats, fake: Floats, rounds: int) -> dict[str, Any]:
    kept: dict[str, float] = {}

    def subsets() -> None:
        rng = np.random.default_rng(0)
        drawn = []
        for _ in range(SUBSETS):
            x, y = (side[rng.choice(len(side), SUBSET_SIZE, replace=False)] for side in (real, fake))
            within = sum(K.sum() - np.trace(K) for K in (cubic(x, x), cubic(y, y)))
            drawn.append(within / (SUBSET_SIZE * (SUBSET_SIZE - 1)) - 2 * cubic(x, y).mean())
        kept["subsets"], kept["sd"] = float(np.mean(drawn)), float(np.std(drawn) / np.sqrt(SUBSETS))

    def mine() -> None:
        kept["ours"] = kernel_distance(real, fake)

    seconds = in_turn({"subsets": subsets, "ours": mine}, rounds, warm_up=1)
    return told("KID", seconds, "subsets") | {
        "value": kept["ours"],
        "value_of_subsets": kept["subsets"],
        "standard_error_of_subsets": kept["sd"],
    }


def cubic(x: Floats, y: Floats) -> Floats:
    found: Floats = (x @ y.T / x.shape[1] + 1) ** 3
    return found


def tiles() -> NDArray[np.uint8]:
    """Phantoms, uint8 (BATCH, TILE_PX, TILE_PX)."""
    drawn = [draw(seed, "L", "CC", "B", "none", height_px=2 * TILE_PX)[0] for seed in range(BATCH)]
    return np.stack([np.asarray(Image.fromarray(image).resize((TILE_PX, TILE_PX))) for image in drawn])


def surrogate(n: int, seed: int, shift: float = 0) -> Floats:
    """Non-negative features (n, 2048) whose covariance falls off as that of real ones, all moved by `shift`."""
    fixed = np.random.default_rng(0).standard_normal((FEATURES, FEATURES), dtype=np.float32)
    mixing = fixed * np.arange(1, FEATURES + 1, dtype=np.float32) ** -0.7
    drawn = np.random.default_rng(seed).standard_normal((n, FEATURES), dtype=np.float32)
    found: Floats = np.abs(drawn @ mixing.T) * np.float32(0.4) + np.float32(shift)
    return found


def told(what: str, seconds: dict[str, list[float]], slow: str, per: int = 1) -> dict[str, Any]:
    ratio = Ratio(seconds[slow], seconds["ours"])
    medians = {name: round(statistics.median(seconds[name]) / per, 4) for name in (slow, "ours")}
    print(f"{what:24s} {ratio}; CPU seconds {medians}")
    return {"ratio": ratio.median, "ratio_quartiles": ratio.quartiles, "cpu_s": medians, "rounds": len(seconds[slow])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    real, fake = surrogate(N, 1), surrogate(N, 2, shift=0.05)
    of = {
        "features": of_features(1 if options.quick else 7),
        **of_distance(real, fake, 1 if options.quick else 3),
        "kid": of_kernel(real, fake, 1 if options.quick else 3),
    }
    ratios = {f"ratio_{name}": of[name]["ratio"] for name in ("eigenvalues", "sqrtm", "kid")}
    last_line({"bench": "fid", "ratio": of["features"]["ratio"], **ratios, "n": N, "batch": BATCH, **of}, options.out)


if __name__ == "__main__":
    main()
