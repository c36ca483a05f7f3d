"""The stage `prepare`: raw mammograms to square 8-bit tiles of one side, split by patient."""

import csv
import errno
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from mammogan.atomic import new_folder
from mammogan.config import PrepareConfig
from mammogan.data.breast import Tile, cut_tile
from mammogan.data.pixels import read_pixels
from mammogan.data.sources import Rejected, Source, find_images
from mammogan.errors import DataError

MANIFEST_COLUMNS = (
    "index",
    "image_id",
    "patient_id",
    "laterality",
    "view",
    "density",
    "cancer",
    "split",
    "file",
    "flipped",
    "crop_top",
    "crop_left",
    "crop_height",
    "crop_width",
    "scale",
    "source_sha256",
    "pixels",
)
REJECTED_COLUMNS = ("file", "image_id", "reason")
ABOUT_FILE = "SOURCE.md"


@dataclass(frozen=True)
class Prepared:
    """What a run of `prepare` made: tiles, patients, and rejected files by kind of reason."""

    resolution: int
    train: int
    holdout: int
    train_patients: int
    holdout_patients: int
    other_side: int
    rejected: Mapping[str, int]

    def line(self) -> str:
        """One readable line."""
        tiles = (
            f"{self.train + self.holdout} tiles of {self.resolution} px: "
            f"train {self.train} ({self.train_patients} patients), "
            f"holdout {self.holdout} ({self.holdout_patients} patients)"
        )
        return f"{tiles}; {self.other_side} images of the other side; rejected {_reasons(self.rejected)}"


def prepare(config: PrepareConfig, raw: Path, out: Path) -> Prepared:
    """Make `out` (images.npy, manifest.csv, rejected.csv) from the images and the table under `raw`.

    A SOURCE.md in `raw`, which says where the images come from, is taken along. images.npy is uint8 (N, resolution,
    resolution), the training tiles first, so that each split is one slice of the file. Memory holds one raw image
    at a time, whatever their number. `out` is replaced as a whole at the end.

    Raises:
        DataError: `raw` is not usable, no image is of the side asked for, all are rejected, there are too few
            patients to split, or the disk is full; an earlier `out` stays as it was.
    """
    sources, rejected = find_images(raw)
    wanted = _of_side(config.laterality, sources, rejected)
    try:
        with new_folder(out) as folder:
            rows = _cut_tiles(config, raw, wanted, rejected, folder / "tiles.partial")
            if not rows:
                examples = "".join(f"\n  {entry.file}: {entry.reason}" for entry in rejected[:5])
                raise DataError(f"every image under {raw} was rejected: {_reasons(_kinds(rejected))}{examples}")
            holdout = holdout_patients(rows, config.holdout_fraction, config.seed)
            order = [k for k, row in enumerate(rows) if row["patient_id"] not in holdout]
            n_train = len(order)
            order += [k for k, row in enumerate(rows) if row["patient_id"] in holdout]
            _write_array(folder / "images.npy", folder / "tiles.partial", order, config.resolution)
            manifest = [
                {**rows[k], "index": str(index), "split": "train" if index < n_train else "holdout"}
                for index, k in enumerate(order)
            ]
            _write_table(folder / "manifest.csv", MANIFEST_COLUMNS, manifest)
            _write_table(folder / "rejected.csv", REJECTED_COLUMNS, map(vars, rejected))
            if (raw / ABOUT_FILE).is_file():
                shutil.copyfile(raw / ABOUT_FILE, folder / ABOUT_FILE)
    except OSError as err:
        if err.errno != errno.ENOSPC:
            raise
        raise DataError(f"disk full while writing {out}; free some space and run again, nothing was changed") from None
    return Prepared(
        resolution=config.resolution,
        train=n_train,
        holdout=len(order) - n_train,
        train_patients=len({row["patient_id"] for row in rows}) - len(holdout),
        holdout_patients=len(holdout),
        other_side=len(sources) - len(wanted),
        rejected=_kinds(rejected),
    )


def holdout_patients(rows: Sequence[Mapping[str, str]], fraction: float, seed: int) -> frozenset[str]:
    """The patients that training never sees: a `fraction` of them, drawn by `seed`, stratified by cancer.

    A patient counts as a cancer patient if any of her images does. The result depends on the set of patients
    and their labels, not on the order of `rows`; each side gets at least one patient.

    Raises:
        DataError: there are fewer than two patients.
    """
    labels: dict[str, str] = {}
    for row in rows:
        labels[row["patient_id"]] = max(labels.get(row["patient_id"], ""), row["cancer"])
    if len(labels) < 2:
        raise DataError(
            f"too few patients to split: {len(labels)} with a usable image, at least 2 are needed; "
            "a patient is never on both sides of the split"
        )
    n_holdout = min(max(round(fraction * len(labels)), 1), len(labels) - 1)
    strata = {label: sorted(p for p in labels if labels[p] == label) for label in sorted(set(labels.values()))}
    # largest remainder: every stratum gets its share rounded down, then the largest fractions one more
    shares = {label: n_holdout * len(patients) / len(labels) for label, patients in strata.items()}
    counts = {label: int(share) for label, share in shares.items()}
    for label in sorted(shares, key=lambda label: counts[label] - shares[label])[: n_holdout - sum(counts.values())]:
        counts[label] += 1
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for label, patients in strata.items():
        chosen.update(patients[k] for k in rng.permutation(len(patients))[: counts[label]])
    return frozenset(chosen)


def _of_side(laterality: str, sources: Sequence[Source], rejected: Sequence[Rejected]) -> list[Source]:
    wanted = [source for source in sources if laterality in ("both", source.laterality)]
    if wanted:
        return wanted
    if not sources:
        raise DataError(f"no row of the table has a usable image: {_reasons(_kinds(rejected))}")
    there = Counter(source.laterality for source in sources)
    sides = ", ".join(f"{side} ({count} images)" for side, count in sorted(there.items()))
    raise DataError(f"prepare.laterality {laterality} selects nothing: the table has {sides}; set it to one of these")


def _cut_tiles(
    config: PrepareConfig, raw: Path, sources: Sequence[Source], rejected: list[Rejected], file: Path
) -> list[dict[str, str]]:
    """Write the tiles one after another to `file`; a manifest row for each; to `rejected` what gives none."""
    rows: list[dict[str, str]] = []
    # plain writes: a memory map that outgrows a full disk kills the process instead of raising
    with file.open("wb") as tiles:
        for source in tqdm(sources, desc="prepare", unit="image", mininterval=1):
            name = source.file.relative_to(raw).as_posix()
            try:
                pixels = read_pixels(source.file)
                tile = cut_tile(pixels.image, source.laterality, config.resolution)
            except DataError as err:
                rejected.append(Rejected(name, source.image_id, str(err).removeprefix(f"{source.file}: ")))
                continue
            tiles.write(tile.image.tobytes())
            rows.append(_row(source, name, tile, pixels.how))
    return rows


def _row(source: Source, name: str, tile: Tile, how: str) -> dict[str, str]:
    with source.file.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "image_id": source.image_id,
        "patient_id": source.patient_id,
        "laterality": source.laterality,
        "view": source.view,
        "density": source.density,
        "cancer": source.cancer,
        "file": name,
        "flipped": str(tile.flipped).lower(),
        "crop_top": str(tile.box.top),
        "crop_left": str(tile.box.left),
        "crop_height": str(tile.box.height),
        "crop_width": str(tile.box.width),
        "scale": f"{tile.scale:.6g}",
        "source_sha256": sha256,
        "pixels": how,
    }


def _write_array(path: Path, tiles: Path, order: Sequence[int], resolution: int) -> None:
    """Write the tiles that stand one by one in `tiles` as an .npy file in `order`, and remove `tiles`."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(order), resolution, resolution)}
    with tiles.open("rb") as source, path.open("wb") as target:
        np.lib.format.write_array_header_1_0(target, header)
        for k in order:
            target.write(_tile_at(source, k, resolution))
    tiles.unlink()


def _tile_at(file: BinaryIO, k: int, resolution: int) -> bytes:
    file.seek(k * resolution * resolution)
    return file.read(resolution * resolution)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _kinds(rejected: Iterable[Rejected]) -> dict[str, int]:
    return dict(Counter(entry.reason.split(":")[0] for entry in rejected).most_common())


def _reasons(kinds: Mapping[str, int]) -> str:
    if not kinds:
        return "0"
    return f"{sum(kinds.values())} ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})"
