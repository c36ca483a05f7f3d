"""The cuts of many files: which are known, which are to be made, and by how many processes."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mammogan.config import PrepareConfig
from mammogan.data.cache import Entry, Stamp, TileCache
from mammogan.data.cut import Tile, cut_file
from mammogan.data.pool import Killed, cores, outcomes
from mammogan.data.raw import UnreadError, unread
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
_LIBRARIES = ("imagecodecs", "numpy", "pillow", "pydicom", "scipy")  # their rounding, and what they can read
_KILLED = "too large or harmful: its process ended while reading it, for lack of memory or by a crash"


@dataclass(frozen=True)
class Cut:
    """What became of an image: the record of its tile, or the reason why there is none."""

    image: Mammogram
    record: Mapping[str, str]
    key: str = ""  # in the cache
    source_id: str = ""  # keyed hash of the file

    @property
    def reason(self) -> str:
        """Why there is no tile; empty if there is one."""
        return self.record.get("reason", "")


@dataclass(frozen=True)
class _Job:
    """One file to cut; travels to a worker process."""

    index: int
    image: Mammogram
    config: PrepareConfig
    key: str = ""
    source_id: str = ""
    stamp: Stamp | None = None


def cut_images(
    config: PrepareConfig, images: Sequence[Mammogram], known: TileCache | None, done: Callable[[], object]
) -> tuple[list[Cut], int]:
    """What becomes of each of `images`, in their order, and how many files were decoded for it.

    Cuts in `known` are taken from there, new ones kept in it. A file that changes, vanishes, is too large for the
    memory or kills the process that reads it is rejected for now; the next call tries it again. `done` is called
    after each.
    """
    cuts: dict[int, Cut] = {}

    def missing() -> Iterator[_Job]:
        for index, image in enumerate(images):
            if known is None:
                yield _Job(index, image, config)
                continue
            try:
                source_id, stamp = known.identify(image.file)
            except OSError as err:
                cuts[index] = Cut(image, {"reason": unread(err)})
                done()
                continue
            key = cut_key(config, image, source_id)
            record = known.record(key, config.resolution**2 * config.bits // 8)
            if record is None:
                yield _Job(index, image, config, key, source_id, stamp)
            else:
                cuts[index] = Cut(image, record, key, source_id)
                done()

    n_decoded = 0
    for job, outcome in outcomes(_cut, missing(), config.workers or cores(), "mammogan.data.cutting"):
        entry = Entry({"reason": _KILLED}, None, lasting=False) if isinstance(outcome, Killed) else outcome
        if known is not None and entry.lasting:
            known.put(job.key, entry)
        cuts[job.index] = Cut(job.image, entry.record, job.key, job.source_id)
        n_decoded += 1
        done()
    return [cuts[index] for index in range(len(images))], n_decoded


def cut_key(config: PrepareConfig, image: Mammogram, source_id: str) -> str:
    """The name of a cut: a hash of the file's content, and of the settings, labels and code that shape it."""
    shaping = config.model_dump(include={"resolution", "bits", "pectoral", "decoding"})
    decisive = json.dumps([source_id, image.laterality, image.view, shaping, _code()], sort_keys=True)
    return hashlib.sha256(decisive.encode()).hexdigest()


def cut(config: PrepareConfig, image: Mammogram) -> Tile:
    """The tile of an image.

    Raises:
        DataError: there is none; the message is `<path>: <reason>`.
    """
    return cut_file(
        image.file,
        image.laterality,
        image.view,
        resolution=config.resolution,
        bits=config.bits,
        pectoral=config.pectoral,
        decoding=config.decoding,
    )


def _cut(job: _Job) -> Entry:
    """The tile of a file and its record, or the reason why there is none. Runs in a worker."""
    try:
        tile = cut(job.config, job.image)
        if job.stamp is not None:
            status = job.image.file.stat()
            if (status.st_size, status.st_mtime_ns) != job.stamp:
                return Entry({"reason": "changed while it was read: run again"}, None, lasting=False)
    except DataError as err:
        reason = str(err).removeprefix(f"{job.image.file}: ")
        return Entry({"reason": reason}, None, lasting=not isinstance(err, UnreadError))
    except MemoryError:
        return Entry({"reason": "too large for the memory: set prepare.workers lower"}, None, lasting=False)
    except OSError as err:
        return Entry({"reason": unread(err)}, None, lasting=False)
    return Entry(_record(tile), tile.image.tobytes())


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


@cache
def _code() -> str:
    """Hash of the sources that decide what a cut looks like, blind to the platform's line ends, and of libraries."""
    digest = hashlib.sha256()
    for name in CUTTING:
        digest.update(name.encode() + (Path(__file__).parent / name).read_bytes().replace(b"\r\n", b"\n"))
    for name in _LIBRARIES:
        digest.update(f"{name} {importlib.metadata.version(name)}".encode())
    return digest.hexdigest()
