"""MIAS: mdb001.pgm and on, with Info.txt; all films are MLO.

Two films in turn are one woman's; odd numbers are left breasts (as the films' own markers say; the README of the
small set says even). A film may have several lines, one a finding. Its background classes F, G and D are no ACR
classes, so `density` stays empty.
"""

import re

from mammogan.data.sources import labels
from mammogan.data.sources.files import Files, stem
from mammogan.data.sources.reader import Reader
from mammogan.data.sources.records import Collection
from mammogan.errors import DataError

_TABLE = "Info.txt"
_NAME = re.compile(r"mdb(\d{3})", re.IGNORECASE)
_LINE = re.compile(r"(mdb\d{3})\s+[FGD]\s+([A-Z]{4})(?:\s+([BM])\b)?", re.IGNORECASE)
_SEVERITY = {"M": "1", "B": "0", "": ""}


def _recognise(files: Files) -> str | None:
    if files.anywhere_named(_TABLE) is None or not any(_NAME.fullmatch(stem(image)) for image in files.images):
        return None
    return "Info.txt and film names of MIAS, such as mdb001.pgm"


def _read(files: Files) -> Collection:
    table = files.anywhere_named(_TABLE)
    if table is None:
        raise DataError(f"{files.root}: {_TABLE} is missing, which this source needs; found: {files.summary()}")
    findings = _findings((files.root / table).read_text(encoding="latin-1"))
    if not findings:
        raise DataError(f"{files.root / table} has no line such as 'mdb001 G CIRC B 535 425 197'; restore it")
    found = Collection(files.root)
    for image in files.images:
        film = stem(image).lower()
        if film not in findings or not _NAME.fullmatch(film):
            found.reject(image, "", f"image without a row: {_TABLE} does not name it")
            continue
        patient, side = pair_and_side(film)
        found.keep(
            image,
            film,
            patient,
            laterality=side,
            view="MLO",
            cancer=labels.any_cancer(findings[film]),
        )
    there = {stem(image).lower() for image in files.images}
    for film in findings:
        if film not in there:
            reason = f"row without an image: {_TABLE} names a film that has no file"
            found.reject("", film, reason, pair_and_side(film)[1])
    return found


def pair_and_side(film: str) -> tuple[str, str]:
    """The patient and the breast of a film such as mdb001; "" and "" if it is called otherwise."""
    match = _NAME.fullmatch(film)
    if match is None:
        return "", ""
    number = int(match[1])
    return f"pair {(number + 1) // 2}", "L" if number % 2 else "R"


def _findings(text: str) -> dict[str, set[str]]:
    """Film -> its labels, one a finding: malignant 1, benign or none 0."""
    findings: dict[str, set[str]] = {}
    for line in text.splitlines():
        if match := _LINE.match(line.strip()):
            label = "0" if match[2].upper() == "NORM" else _SEVERITY[(match[3] or "").upper()]
            findings.setdefault(match[1].lower(), set()).add(label)
    return findings


READER = Reader("mdb001.pgm and on, and Info.txt", _recognise, _read)
