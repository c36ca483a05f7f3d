"""Whether `mammogan utility` puts synthetic sets of known worth in the right order.

Phantoms with a mass against phantoms without: real ones, and synthetic sets that are perfect (fresh phantoms), copies
(the real ones themselves), collapsed (ten fresh phantoms, over and over), mislabelled (fresh, a third of the labels
wrong) and swapped (fresh, every label wrong). Which is better follows from how they are made, but for collapsed against
mislabelled, which is a matter of degree. The last line is one JSON object; `ratio` is the share of the orders that
hold, of the AUC of detectors trained on real and synthetic images and of those trained on synthetic ones alone.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mammogan.config import UtilityConfig
from mammogan.data.phantom import DENSITIES, VIEWS, draw
from mammogan.evaluation.utility import Labelled, Utility, utility
from measuring import last_line

PX = 64
CONFIG = UtilityConfig(
    label="cancer",
    positive=["1"],
    negative=["0"],
    resolution=64,
    per_real=2.0,
    seeds=3,
    epochs=20,
    batch_size=32,
    lr=0.002,
    seed=0,
)
PATIENTS, TEST_PATIENTS = 100, 300
WRONG = 1 / 3
LEFT_OVER = 10  # different images of a collapsed generator
ORDERS = [
    ("perfect", "copies"),
    ("perfect", "collapsed"),
    ("perfect", "mislabelled"),
    ("mislabelled", "swapped"),
    ("collapsed", "swapped"),
    ("copies", "swapped"),
]


def phantoms(n_patients: int, first_seed: int, px: int = PX) -> Labelled:
    """Both views of the left breast of `n_patients`, every second one of whom has a mass."""
    images, labels, patients = [], [], []
    for patient in range(n_patients):
        seed = first_seed + patient
        density = str(np.random.default_rng(seed).choice(DENSITIES, p=[0.1, 0.4, 0.4, 0.1]))
        for view in VIEWS:
            image, _ = draw(seed, "L", view, density, "mass" if patient % 2 else "none", px)
            images.append(np.pad(image, ((0, 0), (0, px - image.shape[1]))))
            labels.append(bool(patient % 2))
            patients.append(seed)
    return Labelled(np.stack(images), np.array(labels), patients)


def synthetic_sets(train: Labelled, n_patients: int, first_seed: int, px: int = PX) -> dict[str, Labelled]:
    """Sets of `n_patients` x 2 images whose worth is known."""
    fresh = phantoms(n_patients, first_seed, px)
    kept = np.concatenate([np.flatnonzero(fresh.labels == value)[: LEFT_OVER // 2] for value in (False, True)])
    collapsed = np.resize(kept, len(fresh.labels))
    copies = np.resize(np.arange(len(train.labels)), len(fresh.labels))
    return {
        "perfect": fresh,
        "collapsed": _of(fresh, collapsed, fresh.labels[collapsed]),
        "mislabelled": _of(fresh, np.arange(len(fresh.labels)), _flipped(fresh.labels)),
        "swapped": _of(fresh, np.arange(len(fresh.labels)), ~fresh.labels),
        "copies": _of(train, copies, train.labels[copies]),
    }


def _of(images: Labelled, chosen: NDArray[np.intp], labels: NDArray[np.bool_]) -> Labelled:
    return Labelled(images.images[chosen], labels, [*range(len(chosen))])


def _flipped(labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The labels, as many of either class wrong, so that their shares stay."""
    chance = np.random.default_rng(0)
    wrong = [
        chance.choice(np.flatnonzero(labels == value), round(WRONG * len(labels) / 2), replace=False)
        for value in (False, True)
    ]
    flipped = labels.copy()
    flipped[np.concatenate(wrong)] ^= True
    return flipped


def measure(config: UtilityConfig, folder: Path, n_patients: int, n_test: int, px: int = PX) -> dict[str, Utility]:
    """The utility of each set, on test patients whom no other set has."""
    train, test = phantoms(n_patients, 1_000_000, px), phantoms(n_test, 2_000_000, px)
    sets = synthetic_sets(train, round(config.per_real * n_patients), 3_000_000, px)
    found = {}
    for name, synthetic in sets.items():
        with tqdm(desc=name, total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}", mininterval=1) as bar:

            def progress(share: float, bar: Any = bar) -> None:
                bar.update(share - bar.n)

            found[name] = utility(config, train, test, synthetic, folder, progress)
        print(f"\n{name}\n" + "\n".join(found[name].lines()), flush=True)
    return found


def orders(found: dict[str, Utility]) -> list[dict[str, Any]]:
    """The orders that must hold, of the AUC of the mixture and of synthetic images alone."""
    return [
        {
            "arm": arm,
            "better": better,
            "worse": worse,
            "holds": found[better].of(arm).auc.value > found[worse].of(arm).auc.value,
        }
        for arm in ("mixed", "synthetic")
        for better, worse in ORDERS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the training, within two minutes")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep trained classifiers' scores here, to go on")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = CONFIG.model_copy(update={"epochs": 2} if options.quick else {})
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(config, options.folder or Path(scratch), PATIENTS, TEST_PATIENTS)
    held = orders(found)
    result = {
        "bench": "utility",
        "ratio": sum(order["holds"] for order in held) / len(held),
        "orders": held,
        "config": config.model_dump(),
        "sets": {name: one.facts() for name, one in found.items()},
    }
    last_line(result, options.out)


if __name__ == "__main__":
    main()
