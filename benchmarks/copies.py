"""The check for copies: what it finds, whom it accuses, and what 1,000 synthetic against 1,821 real images cost.

Tables on phantoms and, where they lie beside the checkout, on real mammograms: the share of planted copies that is
found, of each kind, and of fresh images that is accused. The last line is one JSON object; `ratio` is the goal of 240
CPU seconds over those taken, higher is better.
"""

import argparse
import json
import resource
import runpy
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mammogan
from mammogan.data.cut import grey_levels, locate, to_integers
from mammogan.data.phantom import DENSITIES, draw
from mammogan.data.pixels import open_raw
from mammogan.evaluation.binomial import exact_interval
from mammogan.evaluation.copies import Reference, calibrate, check

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "mammograms"
SHARES = (0, 0.01, 0.05, 0.1)
SEEDS = (11, 12, 13, 14)  # of the splits; the rule of the threshold was settled before they were looked at
GOAL_S, FAKES, REALS, HOLDOUT = 240, 1000, 1821, 455

Tiles = NDArray[np.uint8]
Split = tuple[Tiles, list[str], Tiles, Tiles]  # training images, their patients, holdout images, fresh images

ALTERED = runpy.run_path(str(ROOT / "tests" / "altered.py"))


def phantoms(train: int, holdout: int, fresh: int, seeds: Iterable[int]) -> Iterator[Split]:
    """One split for each of `seeds`: tiles of 64 px, two of a training patient, one of the others."""
    for seed in seeds:
        rng, first = np.random.default_rng(seed), 10_000 * seed
        trained = np.stack([_phantom(first + k // 2, "LR"[k % 2], rng) for k in range(train)])
        others = np.stack([_phantom(first + train + k, "L", rng) for k in range(holdout + fresh)])
        yield trained, [str(k // 2) for k in range(train)], others[:holdout], others[holdout:]


def cdd_cesm(resolution: int, seeds: Iterable[int]) -> Iterator[Split]:
    """A random split by patient for each of `seeds`: 50 fresh images, 15 of the holdout, the others are trained on."""
    rows = [line.split(",") for line in (REAL / "cdd-cesm-cc" / "metadata.csv").read_text("utf-8").splitlines()]
    tiles = np.stack([_read(REAL / "cdd-cesm-cc" / row[1], resolution) for row in rows[1:]])
    patients = np.array([row[2] for row in rows[1:]])
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(np.unique(patients))
        rank = np.argsort(np.concatenate([np.flatnonzero(order == patient) for patient in patients]), kind="stable")
        fresh, holdout, train = rank[:50], rank[50:65], rank[65:]
        train = train[~np.isin(patients[train], patients[rank[:65]])]
        holdout = holdout[~np.isin(patients[holdout], patients[fresh])]
        yield tiles[train], patients[train].tolist(), tiles[holdout], tiles[fresh]


def cbis_ddsm(resolution: int, seed: int) -> Iterator[Split]:
    """The films of one patient beside those of CDD-CESM are trained on, those of the other are fresh; both ways."""
    (train, patients, holdout, _) = next(cdd_cesm(resolution, [seed]))
    rows = [line.split(",") for line in (REAL / "cbis-ddsm-dicom" / "metadata.csv").read_text("utf-8").splitlines()]
    tiles = np.stack([_read(REAL / "cbis-ddsm-dicom" / row[0], resolution) for row in rows[1:]])
    owners = np.array([row[1] for row in rows[1:]])
    for owner in np.unique(owners):
        own = owners == owner
        yield np.concatenate([tiles[own], train]), [owner] * int(own.sum()) + patients, holdout, tiles[~own]


def table(splits: Iterator[Split], originals: int) -> dict[str, Any]:
    """Counts over the splits: what was found of each kind of copy, fresh images accused, and sets with some planted."""
    found = dict.fromkeys(ALTERED["ALTERED"], 0)
    planted_n = accused = n_fresh = 0
    thresholds, rested, sets = [], [], dict.fromkeys(SHARES, 0)
    for train, patients, holdout, fresh in splits:
        reference = Reference(train, patients)
        calibration = calibrate(reference, holdout)
        thresholds.append(calibration.threshold)
        rested.append(calibration.n)
        chosen = train[:originals]
        by_kind = {kind: check(ALTERED["altered"](kind, chosen), reference, calibration).flagged for kind in found}
        alarms = check(fresh, reference, calibration).flagged
        for kind, flags in by_kind.items():
            found[kind] += int(flags.sum())
        flags_of = list(by_kind.values())
        for share in SHARES:
            # shares and kinds go on from one split to the next, so that they hold over all together
            planted = range(round(share * n_fresh), round(share * (n_fresh + len(fresh))))
            copies = sum(bool(flags_of[k % len(flags_of)][k // len(flags_of) % len(chosen)]) for k in planted)
            sets[share] += copies + int(alarms[len(planted) :].sum())
        planted_n += len(chosen)
        accused += int(alarms.sum())
        n_fresh += len(fresh)
        print(f"threshold {calibration.line()}", file=sys.stderr)
    return {
        "threshold": [round(min(thresholds), 3), round(max(thresholds), 3)],
        "calibration_images": [min(rested), max(rested)],
        "fresh": n_fresh,
        "accused": accused,
        "accused_95": [round(end, 4) for end in exact_interval(accused, n_fresh)],
        "planted_of_each_kind": planted_n,
        "found": found,
        "flagged_by_share_planted": {f"{share:.0%}": count for share, count in sets.items()},
    }


def speed(rounds: int) -> dict[str, Any]:
    """CPU seconds of the check, of the calibration, and of a watch of 64 images; peak memory of this process."""
    before = _peak_mib()
    rng = np.random.default_rng(0)
    few = rng.normal(size=(FAKES + REALS + HOLDOUT, 24, 24)).astype(np.float32)
    tiles = np.clip(128 + 40 * few, 0, 255).astype(np.uint8).repeat(6, axis=1).repeat(6, axis=2)  # 144 px
    fakes, real, holdout = np.split(tiles, [FAKES, FAKES + REALS])
    patients = [str(k // 2) for k in range(REALS)]
    taken: dict[str, list[float]] = {"reference": [], "calibration": [], "check": [], "watch_of_64": []}
    for _ in range(rounds):
        start = time.process_time()
        reference = Reference(real, patients)
        taken["reference"].append(time.process_time() - start)
        start = time.process_time()
        calibration = calibrate(reference, holdout)
        taken["calibration"].append(time.process_time() - start)
        start = time.process_time()
        check(fakes, reference, calibration)
        taken["check"].append(time.process_time() - start)
        start = time.process_time()
        check(fakes[:64], reference, calibration)
        taken["watch_of_64"].append(time.process_time() - start)
    seconds = {name: round(statistics.median(values), 2) for name, values in taken.items()}
    total = seconds["reference"] + seconds["calibration"] + seconds["check"]
    return {
        "ratio": round(GOAL_S / total, 2),
        "cpu_s": round(total, 1),
        "cpu_s_of": seconds,
        "rounds": rounds,
        "fakes": FAKES,
        "reals": REALS,
        "resolution": tiles.shape[-1],
        "before_mib": round(before),
        "peak_mib": round(_peak_mib()),
    }


def tile_of(image: NDArray[np.float32], laterality: str, resolution: int) -> Tiles:
    place = locate(image, laterality, 1, image.shape)
    tile: Tiles = to_integers(grey_levels(image, 1, place, resolution), 8).astype(np.uint8)
    return tile


def _phantom(patient: int, side: str, rng: np.random.Generator) -> Tiles:
    image, _ = draw(patient, side, "CC", str(rng.choice(DENSITIES, p=(0.1, 0.4, 0.4, 0.1))), "none", 96)
    return tile_of((image / 255).astype(np.float32), side, 64)


def _read(path: Path, resolution: int) -> Tiles:
    return tile_of(open_raw(path).read().image, "", resolution)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="of the timing")
    parser.add_argument("--quick", action="store_true", help="the timing alone, one round")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()

    result: dict[str, Any] = {"bench": "copies", **speed(1 if options.quick else options.rounds)}
    print(result, file=sys.stderr, flush=True)
    if not options.quick:
        result["tables"] = {}
        if REAL.is_dir():
            result["tables"]["cbis-ddsm-dicom, 64 px"] = table(cbis_ddsm(64, seed=SEEDS[0]), originals=3)
            result["tables"]["cdd-cesm-cc, 64 px"] = table(cdd_cesm(64, SEEDS), originals=12)
        result["tables"]["few phantoms, 64 px"] = table(phantoms(240, 40, 200, SEEDS[:2]), originals=30)
        result["tables"]["more phantoms, 64 px"] = table(phantoms(240, 400, 400, SEEDS[2:]), originals=30)
    line = json.dumps({**result, "mammogan": mammogan.__version__})
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8", newline="\n")
    print(line)


if __name__ == "__main__":
    main()
