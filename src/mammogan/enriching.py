"""The body of `mammogan enrich`: a generator's images into somebody's set, and out again."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from mammogan.config import Checkout, ColumnName, Config, Label, SourceName
from mammogan.data.sources import recognise
from mammogan.data.sources.files import Files, list_files
from mammogan.data.tiles import Greys, Tiles, depth, read_tiles
from mammogan.enrich import batch as batches
from mammogan.enrich.batch import NewFile, NewRows
from mammogan.enrich.classes import wanted
from mammogan.enrich.draw import Drawn, Harvest, Source, harvest
from mammogan.enrich.layouts import Addition, Format, Layout, Place, layout_of
from mammogan.enrich.namespace import FIRST, LAST, first_free
from mammogan.enrich.screen import Distinct, Named, breast_like, training_copies
from mammogan.errors import DataError
from mammogan.generators import open_generator
from mammogan.provenance import data_md5, fingerprint
from mammogan.serving.dicom import VIEWS, Subject, dicom_of
from mammogan.serving.images import jpeg_of, png_of
from mammogan.serving.stored import read_stored

_OF_A_CLASS = re.compile(r"(cancer|density|view)=([^:/\\]+):(.+)")


@dataclass(frozen=True)
class Wish:
    """What the user asks for.

    Attributes:
        n: how many images; None where the balance tells.
        generators: specs of `open_generator`, or `LABEL=VALUE:SPEC` for a generator of one class.
        balance: see `classes.wanted`.
        seed, truncation: of the generator.
        format: of the files; None: that of most files of the set.
        side: L, R, or both in turn.
        view: what the user states; "" where the generator or its training images tell, or nobody.
        spacing_mm: likewise, of a pixel; only DICOM needs it.
        layout: of the set; None: it is recognised.
    """

    n: int | None
    generators: tuple[str, ...]
    balance: str
    seed: int
    truncation: float
    format: Format | None
    side: Literal["L", "R", "both"]
    view: str = ""
    spacing_mm: float | None = None
    layout: SourceName | None = None


def enrich(here: Checkout, settings: Config, target: Path, wish: Wish) -> list[str]:
    """Add a batch to the set in `target`; the same wish again changes nothing. Returns what to tell the user.

    Raises:
        MammoganError: the layout, the generator or the wish does not allow it; the set is then as it was.
    """
    sources = _sources(here, settings, wish)
    # By weights, not by name: a champion and its file are one generator.
    named = [(one.stamp.weights_sha256, dict(one.labels)) for one in sources]
    identity = fingerprint(asdict(replace(wish, generators=())), named)
    with _alone(here, target):
        batches.recover(target)
        record = batches.read_record(target)
        if (there := batches.find(record, identity)) is not None:
            return _already(target, there)
        tiles = _training_tiles(here, sources)
        files, name, why, columns = _recognised(here, settings, target, wish)
        layout = layout_of(files, name, columns, wish.format)
        label = _label(sources)
        values = list(dict.fromkeys(value for one in sources for value in one.values))
        there_now = _counts(layout, record, label)
        counts = wanted(wish.balance, wish.n, label, values, there_now)
        total = sum(counts.values())
        if not total:
            return [f"nothing to do: {target} has as many images of each {label} already"]
        view, spacing = _known(tiles, wish)
        if layout.format == "dicom" and label != "view" and view not in VIEWS:
            raise DataError(f"DICOM needs the view of each image; state it by --view, one of {', '.join(VIEWS)}")
        if layout.format == "dicom" and spacing is None:
            raise DataError(
                "DICOM needs the pixel spacing, which the training images do not tell; state it by --spacing MM (of a "
                f"breast 180 mm long on {tiles.resolution} px: {180 / tiles.resolution:.3g})"
            )
        folder = files.root.relative_to(target).as_posix()
        _try_place(layout, wish, view, label, values)
        with tqdm(desc=f"enrich {target.name}", total=total, unit="image") as bar:
            found = harvest(
                sources,
                counts,
                seed=wish.seed,
                truncation=wish.truncation,
                screens=[
                    Named("not breast-like", breast_like(tiles.images)),
                    Named("copy of a training image", training_copies(tiles.images)),
                ],
                distinct=Distinct(_earlier(target, record)),
                progress=lambda done: _show(bar, done),
            )
        new_files, new_rows = _placed(layout, found.images, wish, view, spacing, folder, first_free(layout.ids))
        facts = {
            "layout": name,
            "wish": asdict(wish),
            "generators": [{**asdict(one.stamp), "class": dict(one.labels)} for one in sources],
            "drawn": found.drawn,
            "rejected": dict(found.rejected),
        }
        batches.add(target, identity, facts, new_files, new_rows)
    warning = _other_data(here, sources)
    return [
        f"{target}: {name}, {why}",
        f"batch {identity}: {total} synthetic images added{_of_each(found, label)}",
        _rejected(found),
        *([warning] if warning else []),
        f"next: {_next(target, [new.file for new in new_files])}",
        f"back: mammogan enrich {target} --undo {identity}",
    ]


def undo(here: Checkout, target: Path, batch: str) -> list[str]:
    """Take a batch out of the set in `target`; `last` is the newest. Returns what to tell the user.

    Raises:
        DataError: there is no such batch, or its files were changed.
    """
    if not target.is_dir():
        raise DataError(f"{target} is missing or no folder")
    with _alone(here, target):
        entry, notes = batches.undo(target, batch)
    files = [image["file"] for image in entry["images"]]
    return [f"batch {entry['id']}: {len(files)} synthetic images taken out", *notes, f"next: {_next(target, files)}"]


@contextmanager
def _alone(here: Checkout, target: Path) -> Iterator[None]:
    lock = here.stores / ".locks" / f"enrich-{fingerprint(target.resolve())}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield


def _recognised(
    here: Checkout, settings: Config, target: Path, wish: Wish
) -> tuple[Files, SourceName, str, Mapping[ColumnName, str] | None]:
    """The set's files, layout, why, and column mapping; the section `prepare` speaks of data/ alone."""
    at_home = target.resolve() == (here.root / "data").resolve()
    columns = settings.prepare.columns if at_home else None
    source = wish.layout or (settings.prepare.source if at_home else "auto")
    files = list_files(target)
    try:
        return *recognise(files, source, columns), columns
    except DataError as err:
        raise DataError(f"{err}; for enrich, that is --layout") from None


def _sources(here: Checkout, settings: Config, wish: Wish) -> list[Source]:
    sources = []
    for spec in wish.generators:
        match = _OF_A_CLASS.fullmatch(spec)
        opened = open_generator(match[3] if match else spec, here.stores, settings.register_.prefix)
        if match and opened.G.classes is not None:
            raise DataError(
                f"{match[3]} is conditional on {opened.G.classes.label} itself; give it without {match[1]}="
            )
        sources.append(Source(opened.G, opened.stamp, {match[1]: match[2]} if match else {}))
    if len(sources) > 1 and not all(one.labels for one in sources):
        raise DataError("several generators are one for each class: --from cancer=1:A --from cancer=0:B")
    values = [value for one in sources for value in one.values]
    if len({one.label for one in sources}) > 1 or len(set(values)) < len(values):
        raise DataError("the generators must be of one label, and each of another class of it")
    if len(sources) > 1 and wish.balance == "trained":
        raise DataError("with one generator a class, say how many of each: --balance even, level, or 1=60,0=40")
    return sources


def _training_tiles(here: Checkout, sources: Sequence[Source]) -> Tiles:
    """The tiles that no synthetic image may repeat."""
    tiles = read_tiles(here.root / "prepared", "train")
    for one in sources:
        if (one.G.resolution, one.G.bits) != (tiles.resolution, depth(tiles.images)):
            raise DataError(
                f"the generator draws {one.G.resolution} px, {one.G.bits} bits, and prepared/ holds {tiles.resolution} "
                f"px, {depth(tiles.images)} bits: not what it was trained on, so no copy could be noticed; prepare the "
                "training images again"
            )
    return tiles


def _other_data(here: Checkout, sources: Sequence[Source]) -> str:
    """A warning where prepared/ may not be what the generators learned from."""
    known = {one.stamp.data_hash for one in sources}
    if known == {data_md5(here.root)}:
        return ""
    told = "another data.dvc" if "" not in known else "data that are not on record here"
    return f"warning: the generator was trained on {told}; only copies of images in prepared/ were looked for"


def _label(sources: Sequence[Source]) -> Label | None:
    label = sources[0].label
    return next((known for known in ("cancer", "density", "view") if known == label), None)


def _counts(layout: Layout, record: dict[str, Any], label: Label | None) -> Counter[str]:
    """How many images of each value the set has, with those that were added before."""
    if label is None:
        return Counter()
    added = (image["labels"].get(label) for one in record["batches"] for image in one["images"])
    return layout.counts(label) + Counter(value for value in added if value)


def _known(tiles: Tiles, wish: Wish) -> tuple[str, float | None]:
    """View and spacing of all images: as stated, else as all training tiles have them."""
    views = set(tiles.labels("view"))
    spacings = [float(text) for text in tiles.labels("spacing_mm") if text]
    view = wish.view or (views.pop() if len(views) == 1 else "")
    return view, wish.spacing_mm or (float(np.median(spacings)) if spacings else None)


def _earlier(target: Path, record: dict[str, Any]) -> Iterator[Greys]:
    """The synthetic images of earlier batches that are still there, (S, S), chest wall left."""
    for one in record["batches"]:
        for image in one["images"]:
            path = target / image["file"]
            if path.is_file():
                stored = read_stored(path)
                yield stored.pixels[:, ::-1] if stored.mirrored else stored.pixels


def _try_place(layout: Layout, wish: Wish, view: str, label: Label | None, values: Sequence[str]) -> None:
    """Notice what the layout cannot take before anything is drawn."""
    side: Literal["L", "R"] = "R" if wish.side == "R" else "L"
    known = {label: values[0]} if label else {}
    layout.place(_addition(FIRST, side, view, known))


def _addition(number: int, side: Literal["L", "R"], view: str, labels: Any) -> Addition:
    return Addition(number, side, labels.get("view", view), labels.get("cancer", ""), labels.get("density", ""))


def _placed(
    layout: Layout,
    images: Sequence[Drawn],
    wish: Wish,
    view: str,
    spacing: float | None,
    folder: str,
    first: int,
) -> tuple[list[NewFile], list[NewRows]]:
    if first + len(images) > LAST:
        raise DataError(f"the namespace of synthetic ids ends at {LAST}; undo earlier batches first")
    files: list[NewFile] = []
    rows: dict[str, list[Any]] = {name: [] for name in layout.keys}
    above = "" if folder == "." else f"{folder}/"
    for place_in_batch, one in enumerate(images):
        number = first + place_in_batch
        side: Literal["L", "R"] = ("L", "R")[place_in_batch % 2] if wish.side == "both" else wish.side
        addition = _addition(number, side, view, one.labels)
        place = layout.place(addition)
        data = _encoded(layout.format, one, addition, place, spacing)
        for name, row in place.rows.items():
            rows[name].append(row)
        facts = {
            "patient_id": place.patient_id,
            "keys": {f"{above}{name}": row[layout.keys[name]] for name, row in place.rows.items()},
            "labels": dict(one.labels),
            **one.recipe.words(),
        }
        files.append(NewFile(above + place.file, data, facts))
    return files, [NewRows(f"{above}{name}", layout.keys[name], list(lines)) for name, lines in rows.items()]


def _encoded(format_: Format, one: Drawn, addition: Addition, place: Place, spacing: float | None) -> bytes:
    mirrored = addition.laterality == "R"
    laid: Greys = one.image[:, ::-1].copy() if mirrored else one.image
    if format_ == "dicom":
        assert spacing is not None, "checked before anything was drawn"
        subject = Subject(place.patient_id, addition.laterality, addition.view, spacing, addition.number)
        return dicom_of(laid, one.recipe, one.stamp, subject)
    words = one.recipe.words() | ({"mirrored": "true"} if mirrored else {})
    return jpeg_of(laid, words) if format_ == "jpeg" else png_of(laid, words)


def _already(target: Path, there: dict[str, Any]) -> list[str]:
    missing, changed = batches.faults(target, there)
    told = [f"nothing to do: batch {there['id']} ({len(there['images'])} images) is in {target} already"]
    if missing or changed:
        told.append(
            f"warning: of its files {len(missing)} are missing and {len(changed)} changed; "
            f"`mammogan enrich {target} --undo {there['id']}` and the same command make it afresh"
        )
    return told


def _show(bar: Any, done: int) -> None:
    bar.update(done - bar.n)


def _of_each(found: Harvest, label: Label | None) -> str:
    if label is None:
        return ", without labels: the generator is unconditional"
    counts = Counter(one.labels[label] for one in found.images)
    return f" ({', '.join(f'{count} {label} {value}' for value, count in sorted(counts.items()))})"


def _rejected(found: Harvest) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.rejected.items()) or "none"
    return f"{found.drawn} drawn and screened one by one, rejected: {reasons}"


def _next(target: Path, files: Sequence[str]) -> str:
    """The command that puts the change under version control."""
    for tracked in (target, *target.parents):
        if Path(f"{tracked}.dvc").is_file():
            return f"dvc add {tracked} && git add {tracked}.dvc && git commit"
    tops = sorted({file.split("/")[0] for file in files})
    if parts := [str(target / top) for top in tops if (target / f"{top}.dvc").is_file()]:
        pointers = " ".join(f"{part}.dvc" for part in parts)
        return f"dvc add {' '.join(parts)} && git add {pointers} {target} && git commit"
    return f"`dvc add {target}` or `git add {target}`, if it is to be under version control"
