"""The stage `prepare`: raw mammograms to square tiles of one side, split by patient, with nobody's name in them."""

import csv
import errno
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mammogan.atomic import new_folder
from mammogan.config import PrepareConfig
from mammogan.data.cache import TileCache, tile_cache
from mammogan.data.copies import near_duplicates
from mammogan.data.cutting import Cut, cut_images
from mammogan.data.ids import keyed
from mammogan.data.prepared import Prepared, kinds, reasons
from mammogan.data.sources import Catalogue, Mammogram, Rejected, catalogue
from mammogan.data.split import holdout_patients
from mammogan.errors import DataError

MANIFEST_COLUMNS = (
    "index",
    "split",
    "image_id",
    "patient_id",
    "patient_known",
    "laterality",
    "view",
    "density",
    "cancer",
    "age",
    "pixels",
    "window",
    "inverted",
    "reduction",
    "crop_top",
    "crop_left",
    "crop_height",
    "crop_width",
    "pad_top",
    "pad_bottom",
    "pad_right",
    "flipped",
    "scale",
    "spacing_mm",
    "pectoral",
    "burnt_in",
    "source_id",
)
REJECTED_COLUMNS = ("image_id", "reason")
DUPLICATE_COLUMNS = ("holdout_image_id", "train_image_id", "similarity")
ABOUT_FILE = "SOURCE.md"


def prepare(config: PrepareConfig, raw: Path, out: Path, *, cache: Path, id_key: bytes) -> Prepared:
    """Make `out` from the images and labels under `raw`.

    `out` gets train.npy and holdout.npy, uint8 or uint16 (N, resolution, resolution), manifest.csv with their rows in
    that order, rejected.csv, near_duplicates.csv, and the SOURCE.md of `raw` if it has one. It is replaced as a whole
    at the end. Ids are hashes under `id_key`; no path and no id of `raw` is written. What was cut before, by content
    and settings, comes from the file `cache`, so a killed run goes on where it stood. Memory is bounded by the number
    of workers, not of images.

    Raises:
        DataError: `raw` is not usable, no image is of the side asked for, too many or all are rejected, there are
            too few patients to split, or the disk is full; an earlier `out` stays as it was.
    """
    found = catalogue(raw, config.source, config.columns)
    wanted, rejected = of_side(config.laterality, found)
    try:
        with tile_cache(cache, id_key) as known, new_folder(out) as folder:
            cuts, n_decoded = _cut_all(config, wanted, known)
            kept = [cut for cut in cuts if not cut.reason]
            rejected += [rejection(raw, cut) for cut in cuts if cut.reason]
            insist_on_enough(config, len(kept), rejected)
            holdout = holdout_patients([cut.image for cut in kept], config.holdout_fraction, config.seed)
            splits = {
                "train": [cut for cut in kept if cut.image.patient_id not in holdout],
                "holdout": [cut for cut in kept if cut.image.patient_id in holdout],
            }
            manifest = []
            for split, members in splits.items():
                pixels = (known.pixels(cut.key) for cut in members)
                write_array(folder / f"{split}.npy", pixels, len(members), config)
                manifest += [_row(cut, split, index, id_key) for index, cut in enumerate(members)]
            duplicates = _duplicates(folder, manifest)
            _write_table(folder / "manifest.csv", MANIFEST_COLUMNS, manifest)
            _write_table(folder / "near_duplicates.csv", DUPLICATE_COLUMNS, duplicates)
            _write_table(
                folder / "rejected.csv",
                REJECTED_COLUMNS,
                [{"image_id": rejected_id(entry, id_key), "reason": entry.reason} for entry in rejected],
            )
            if (raw / ABOUT_FILE).is_file():
                shutil.copyfile(raw / ABOUT_FILE, folder / ABOUT_FILE)
    except OSError as err:
        if err.errno != errno.ENOSPC:
            raise
        raise DataError(f"disk full while writing {out}; free some space and run again, nothing was changed") from None
    return Prepared(
        source=found.source,
        why=found.why,
        resolution=config.resolution,
        bits=config.bits,
        train=len(splits["train"]),
        holdout=len(splits["holdout"]),
        train_patients=len({row["patient_id"] for row in manifest if row["split"] == "train"}),
        holdout_patients=len(holdout),
        unknown_patients=sum(not cut.image.patient_known for cut in kept),
        other_side=len(found.mammograms) - len(wanted),
        burnt_in=sum(cut.record["burnt_in"] == "true" for cut in kept),
        near_duplicates=len(duplicates),
        decoded=n_decoded,
        known=len(cuts) - n_decoded,
        rejected=kinds(rejected),
        expected=config.expected_images,
    )


def of_side(laterality: str, found: Catalogue) -> tuple[list[Mammogram], list[Rejected]]:
    """The images of the side asked for, and what is rejected of that side or of an unknown one so far.

    Raises:
        DataError: there is none of that side.
    """
    wanted = [image for image in found.mammograms if laterality in ("both", image.laterality)]
    if wanted:
        return wanted, [entry for entry in found.rejected if laterality in ("both", entry.laterality or laterality)]
    if not found.mammograms:
        raise DataError(f"no usable image is named: {reasons(kinds(found.rejected))}; `mammogan data check` lists them")
    there = Counter(image.laterality or "unknown" for image in found.mammograms)
    sides = ", ".join(f"{side} ({count} images)" for side, count in sorted(there.items()))
    raise DataError(
        f"prepare.laterality {laterality} selects nothing: there are {sides}; set it to one of these"
        + ("" if "unknown" not in there else ", or to both where the side is unknown")
    )


def rejection(raw: Path, cut: Cut) -> Rejected:
    """The rejection of an image of `raw` that gave no tile."""
    return Rejected(cut.image.file.relative_to(raw).as_posix(), cut.image.image_id, cut.reason)


def insist_on_enough(config: PrepareConfig, kept: int, rejected: Sequence[Rejected]) -> None:
    """Stop where all, or more than the share that is allowed, is rejected.

    Raises:
        DataError: so it is.
    """
    share = len(rejected) / max(kept + len(rejected), 1)
    if kept and share <= config.max_rejected:
        return
    what = (
        "every image was rejected"
        if not kept
        else (f"{100 * share:.0f} % of the images were rejected, more than prepare.max_rejected allows")
    )
    raise DataError(f"{what}: {reasons(kinds(rejected))}; `mammogan data check` names the files and shows what to mend")


def write_array(path: Path, tiles: Iterable[bytes], n: int, config: PrepareConfig) -> None:
    """Write `n` tiles as an .npy file (n, resolution, resolution), one after another."""
    descr = {8: "|u1", 16: "<u2"}[config.bits]
    header = {"descr": descr, "fortran_order": False, "shape": (n, config.resolution, config.resolution)}
    # plain writes: a memory map that outgrows a full disk kills the process instead of raising
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for pixels in tiles:
            file.write(pixels)


def rejected_id(entry: Rejected, id_key: bytes) -> str:
    """The keyed id under which rejected.csv names an image: by its image id, else by its path; empty without both."""
    if entry.image_id:
        return keyed(id_key, "image", entry.image_id)
    return keyed(id_key, "file", entry.file) if entry.file else ""


def _cut_all(config: PrepareConfig, images: Sequence[Mammogram], known: TileCache) -> tuple[list[Cut], int]:
    with tqdm(desc="prepare", total=len(images), unit="image", mininterval=1, smoothing=0.1) as bar:
        return cut_images(config, images, known, bar.update)


def _row(cut: Cut, split: str, index: int, id_key: bytes) -> dict[str, str]:
    image = cut.image
    return {
        "index": str(index),
        "split": split,
        "image_id": keyed(id_key, "image", image.image_id),
        "patient_id": keyed(id_key, "patient", image.patient_id),
        "patient_known": str(image.patient_known).lower(),
        "laterality": image.laterality,
        "view": image.view,
        "density": image.density,
        "cancer": image.cancer,
        "age": image.age,
        **cut.record,
        "source_id": cut.source_id,
    }


def _duplicates(folder: Path, manifest: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Holdout images that nearly equal a training image of, as far as is known, another patient."""
    arrays = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in ("train", "holdout")}
    ids = {split: [row["image_id"] for row in manifest if row["split"] == split] for split in arrays}
    with tqdm(desc="near-duplicates", total=len(ids["holdout"]), unit="image", mininterval=1) as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)

        pairs = near_duplicates(arrays["train"], arrays["holdout"], progress=progress)
    return [
        {
            "holdout_image_id": ids["holdout"][pair.holdout],
            "train_image_id": ids["train"][pair.train],
            "similarity": f"{pair.ncc:.4f}",
        }
        for pair in pairs
    ]


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
