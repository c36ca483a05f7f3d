"""Look at raw mammograms before anything is written: what `prepare` would keep, what it would reject, and why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mammogan.config import PrepareConfig
from mammogan.data.area import area_mean
from mammogan.data.cut import coarse_level
from mammogan.data.cutting import Cut, cut, cut_images
from mammogan.data.ids import keyed
from mammogan.data.outline import Box
from mammogan.data.pixels import open_raw
from mammogan.data.pool import cores, outcomes
from mammogan.data.prepare import of_side, rejected_id, rejection
from mammogan.data.prepared import kinds, reasons
from mammogan.data.sheet import BeforeAfter, before_and_after
from mammogan.data.sources import Mammogram, catalogue
from mammogan.errors import DataError

SHOWN = 24
_SIDE = 200  # px of each picture of the sheet


@dataclass(frozen=True)
class Checked:
    """What `check` found: text for the terminal, and the contact sheet, uint8 (H, W), if there is a tile."""

    text: str
    sheet: NDArray[np.uint8] | None


def check(config: PrepareConfig, raw: Path) -> Checked:
    """Read all under `raw` as `prepare` would, and write nothing.

    The text names files, which `prepare` never does: it is for the eyes of those who hold the data.

    Raises:
        DataError: `raw` is not usable, or no image is of the side asked for.
    """
    found = catalogue(raw, config.source, config.columns)
    wanted, rejected = of_side(config.laterality, found)
    with tqdm(desc="check", total=len(wanted), unit="image", mininterval=1) as bar:
        cuts, _ = cut_images(config, wanted, None, bar.update)
    kept = [cut for cut in cuts if not cut.reason]
    rejected += [rejection(raw, cut) for cut in cuts if cut.reason]
    lines = [f"source {found.source}: {found.why}", *_kept_lines(kept)]
    lines.append(f"{len(found.mammograms) - len(wanted)} images of the other side")
    lines.append(f"rejected {reasons(kinds(rejected))}")
    lines += [f"  {entry.file or entry.image_id}: {entry.reason}" for entry in sorted(rejected, key=lambda e: e.file)]
    return Checked("\n".join(lines), _sheet(config, raw, kept))


def find(config: PrepareConfig, raw: Path, ids: Sequence[str], id_key: bytes) -> dict[str, list[str]]:
    """The files under `raw` that bear each of these keyed ids, of an image or of a patient.

    Raises:
        DataError: `raw` is not usable.
    """
    found = catalogue(raw, config.source, config.columns)
    files: dict[str, list[str]] = {name: [] for name in ids}
    for image in found.mammograms:
        for name in (keyed(id_key, "image", image.image_id), keyed(id_key, "patient", image.patient_id)):
            if name in files:
                files[name].append(image.file.relative_to(raw).as_posix())
    for entry in found.rejected:
        if (name := rejected_id(entry, id_key)) in files:
            files[name].append(entry.file or entry.image_id)
    return files


def _kept_lines(kept: Sequence[Cut]) -> list[str]:
    images = [cut.image for cut in kept]
    lines = [f"kept {len(kept)} images of {len({image.patient_id for image in images})} patients"]
    for name in ("laterality", "view", "density", "cancer"):
        counts = Counter(getattr(image, name) or "not given" for image in images)
        lines.append(f"  {name}: {', '.join(f'{value} {count}' for value, count in sorted(counts.items()))}")
    for name in ("pixels", "pectoral"):
        counts = Counter(cut.record[name] for cut in kept)
        lines.append(f"  {name}: {', '.join(f'{value} ({count})' for value, count in counts.most_common(6))}")
    unknown = sum(not image.patient_known for image in images)
    burnt_in = sum(cut.record["burnt_in"] == "true" for cut in kept)
    lines.append(f"  unknown patient: {unknown}; text or markers beside the breast: {burnt_in}")
    return lines


def _sheet(config: PrepareConfig, raw: Path, kept: Sequence[Cut]) -> NDArray[np.uint8] | None:
    """The contact sheet of some of the images; each is read again, and shrunk by the process that reads it."""
    chosen = sorted(np.random.default_rng(config.seed).permutation(len(kept))[:SHOWN])
    todo = [_Shown(kept[k].image, kept[k].image.file.relative_to(raw).as_posix(), config) for k in chosen]
    drawn = {}
    with tqdm(desc="contact sheet", total=len(todo), unit="image", mininterval=1) as bar:
        for shown, pair in outcomes(_draw, todo, config.workers or cores(), "mammogan.data.check"):
            if isinstance(pair, BeforeAfter):
                drawn[shown.file] = pair
            bar.update()
    pairs = [drawn[shown.file] for shown in todo if shown.file in drawn]
    return before_and_after(pairs, side=_SIDE) if pairs else None


@dataclass(frozen=True)
class _Shown:
    """An image to be shown; travels to a worker process."""

    image: Mammogram
    file: str
    config: PrepareConfig


def _draw(shown: _Shown) -> BeforeAfter | None:
    """The picture of an image; None where it cannot be read a second time. Runs in a worker."""
    image = shown.image
    try:
        tile = cut(shown.config, image)
        raw = open_raw(image.file)
        level = coarse_level(raw)
        before = raw.read(level).image
    except (DataError, OSError, MemoryError):
        return None
    shrunk = min(1.0, 2 * _SIDE / max(before.shape))
    before = area_mean(before, *(max(1, round(shrunk * side)) for side in before.shape))
    box = Box(*(round(shrunk * side / level) for side in astuple(tile.box)))
    labels = [image.laterality, image.view, image.density and f"density {image.density}", tile.inverted and "inverted"]
    caption = ", ".join(str(label) for label in labels if label) or "no labels"
    return BeforeAfter(before, box, tile.image, f"{caption}\n{'/'.join(shown.file.split('/')[-2:])}")
