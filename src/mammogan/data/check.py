"""Look at raw mammograms before anything is written: what `prepare` would keep, what it would reject, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mammogan.config import PrepareConfig
from mammogan.data.breast import OVERVIEW_PX
from mammogan.data.cut import cut_file
from mammogan.data.cutting import CRASHED, Job, cut_all
from mammogan.data.ids import keyed
from mammogan.data.outline import Box
from mammogan.data.pixels import open_raw
from mammogan.data.pool import Killed
from mammogan.data.prepare import of_side, rejected_id, rejection
from mammogan.data.prepared import kinds, reasons
from mammogan.data.sheet import BeforeAfter, before_and_after
from mammogan.data.sources import Mammogram, catalogue

SHOWN = 24


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
    todo = [Job(image, "", "", config) for image in wanted]
    records: dict[Path, Mapping[str, str]] = {}
    for job, entry in tqdm(cut_all(todo, config.workers), "check", len(todo), unit="image", mininterval=1):
        records[job.image.file] = CRASHED if isinstance(entry, Killed) else entry.record
    kept = [(image, records[image.file]) for image in wanted if "reason" not in records[image.file]]
    rejected += [
        rejection(raw, image, records[image.file]["reason"]) for image in wanted if "reason" in records[image.file]
    ]
    lines = [f"source {found.source}: {found.why}", *_kept_lines(kept)]
    lines.append(f"{len(found.mammograms) - len(wanted)} images of the other side")
    lines.append(f"rejected {reasons(kinds(rejected))}")
    lines += [f"  {entry.file or entry.image_id}: {entry.reason}" for entry in sorted(rejected, key=lambda e: e.file)]
    return Checked("\n".join(lines), _sheet(config, kept))


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


def _kept_lines(kept: Sequence[tuple[Mammogram, Mapping[str, str]]]) -> list[str]:
    images = [image for image, _ in kept]
    lines = [f"kept {len(kept)} images of {len({image.patient_id for image in images})} patients"]
    for name in ("laterality", "view", "density", "cancer"):
        counts = Counter(getattr(image, name) or "not given" for image in images)
        lines.append(f"  {name}: {', '.join(f'{value} {count}' for value, count in sorted(counts.items()))}")
    for name in ("pixels", "pectoral"):
        counts = Counter(record[name] for _, record in kept)
        lines.append(f"  {name}: {', '.join(f'{value} ({count})' for value, count in counts.most_common(6))}")
    unknown = sum(not image.patient_known for image in images)
    burnt_in = [image for image, record in kept if record["burnt_in"] == "true"]
    lines.append(f"  unknown patient: {unknown}; text or markers beside the breast: {len(burnt_in)}")
    return lines


def _sheet(config: PrepareConfig, kept: Sequence[tuple[Mammogram, Mapping[str, str]]]) -> NDArray[np.uint8] | None:
    if not kept:
        return None
    chosen = np.random.default_rng(config.seed).permutation(len(kept))[:SHOWN]
    return before_and_after([_pair(config, kept[k][0]) for k in sorted(chosen)])


def _pair(config: PrepareConfig, image: Mammogram) -> BeforeAfter:
    raw = open_raw(image.file)
    level = max(level for level in raw.reductions if level == 1 or max(raw.height, raw.width) >= level * OVERVIEW_PX)
    tile = cut_file(
        image.file,
        image.laterality,
        image.view,
        resolution=config.resolution,
        bits=config.bits,
        pectoral=config.pectoral,
        decoding=config.decoding,
    )
    box = Box(*(side // level for side in (tile.box.top, tile.box.left, tile.box.height, tile.box.width)))
    caption = " ".join(filter(None, (image.laterality, image.view, image.density and f"density {image.density}")))
    return BeforeAfter(raw.read(level).image, box, tile.image, f"{caption or 'no labels'}\n{tile.how}")
