"""The cuts of many files: which are known, which are to be made, and by how many processes."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mammogan.config import PrepareConfig
from mammogan.data.cache import Entry, TileCache
from mammogan.data.cut import Tile, cut_file
from mammogan.data.pool import Killed, cores, outcomes
from mammogan.data.sources import Mammogram
from mammogan.errors import DataError

# The modules that decide what a file's cut looks like; a test holds the list against their imports.
CUTTING = (
    "area.py",
    "breast.py",
    "codestream.py",
    "cut.py",
    "decode.py",
    "dicom.py",
    "outline.py",
    "pectoral.py",
    "pixels.py",
    "raster.py",
    "raw.py",
    "voi.py",
)
CRASHED = {"reason": "unreadable: its decoder crashed or ran out of memory"}


@dataclass(frozen=True)
class Job:
    """One file to cut; travels to a worker process."""

    image: Mammogram
    key: str  # in the cache
    sha256: str
    config: PrepareConfig


def jobs(config: PrepareConfig, images: Iterable[Mammogram], known: TileCache) -> Iterator[Job]:
    """What is to be done with each image, with the key of its cut in the cache."""
    shaping = config.model_dump(include={"resolution", "bits", "pectoral", "decoding"})
    code = _code_sha256()
    for image in images:
        sha256 = known.sha256(image.file)
        decisive = json.dumps([sha256, image.laterality, image.view, shaping, code], sort_keys=True)
        yield Job(image, hashlib.sha256(decisive.encode()).hexdigest(), sha256, config)


def cut(job: Job) -> Entry:
    """The tile of a file and its record, or the reason why there is none."""
    config = job.config
    try:
        tile = cut_file(
            job.image.file,
            job.image.laterality,
            job.image.view,
            resolution=config.resolution,
            bits=config.bits,
            pectoral=config.pectoral,
            decoding=config.decoding,
        )
    except DataError as err:
        return Entry({"reason": str(err).removeprefix(f"{job.image.file}: ")}, None)
    return Entry(_record(tile), tile.image.tobytes())


def cut_all(todo: Iterable[Job], workers: int | None) -> Iterator[tuple[Job, Entry | Killed]]:
    """The cuts of all jobs, in the order in which the processes have done them."""
    return outcomes(cut, todo, workers or cores(), "mammogan.data.prepare")


def _record(tile: Tile) -> dict[str, str]:
    return {
        "pixels": tile.how,
        "window": tile.window,
        "inverted": str(tile.inverted).lower(),
        "reduction": str(tile.reduction),
        "crop_top": str(tile.box.top),
        "crop_left": str(tile.box.left),
        "crop_height": str(tile.box.height),
        "crop_width": str(tile.box.width),
        "pad_top": str(tile.pad_top),
        "pad_bottom": str(tile.pad_bottom),
        "pad_right": str(tile.pad_right),
        "flipped": str(tile.flipped).lower(),
        "scale": f"{tile.scale:.6g}",
        "spacing_mm": "" if tile.spacing_mm is None else f"{tile.spacing_mm:.6g}",
        "pectoral": tile.pectoral,
        "burnt_in": str(tile.burnt_in).lower(),
    }


def _code_sha256() -> str:
    """Hash of the sources that decide what a cut looks like, blind to the platform's line ends."""
    digest = hashlib.sha256()
    for name in CUTTING:
        digest.update(name.encode() + (Path(__file__).parent / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()
