"""What a source yields: images with their labels in one vocabulary, and what was turned away."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mammogan.config import SourceName


@dataclass(frozen=True)
class Mammogram:
    """One raw image and its labels; a label that the set does not give is ""."""

    file: Path
    image_id: str
    patient_id: str
    patient_known: bool  # False: the set does not tell who it is, and patient_id stands for this image alone
    laterality: str = ""  # L or R
    view: str = ""  # CC, MLO, ...
    density: str = ""  # A to D
    cancer: str = ""  # 0 or 1
    age: str = ""  # whole years


@dataclass(frozen=True)
class Rejected:
    """A file or row that gives no image, and why; the part of the reason before the colon names its kind."""

    file: str  # POSIX path relative to the root
    image_id: str
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """All that a source holds, in a fixed order, and why it was taken for this source."""

    source: SourceName
    why: str
    mammograms: list[Mammogram]
    rejected: list[Rejected]


@dataclass
class Collection:
    """Images as a reader meets them; an id or a file that comes a second time is turned away."""

    root: Path
    mammograms: list[Mammogram] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    note: str = ""  # joins the catalogue's `why`
    _met: set[str] = field(default_factory=set)  # files, kept or rejected
    _kept: set[str] = field(default_factory=set)  # files
    _ids: set[str] = field(default_factory=set)

    def keep(
        self,
        file: str,
        image_id: str,
        patient_id: str | None,
        *,
        laterality: str = "",
        view: str = "",
        density: str = "",
        cancer: str = "",
        age: str = "",
    ) -> None:
        """Take `file` (relative to the root) in; `patient_id` None: nobody knows whose it is."""
        if image_id in self._ids:
            self.reject(file, image_id, "image_id named twice: an earlier image of the table has this id")
        elif file in self._kept:
            self.reject(file, image_id, "file named twice: an earlier image of the table is this file")
        else:
            self._met.add(file)
            self._kept.add(file)
            self._ids.add(image_id)
            known = patient_id is not None
            patient = patient_id if patient_id is not None else f"unknown: {image_id}"
            self.mammograms.append(
                Mammogram(self.root / file, image_id, patient, known, laterality, view, density, cancer, age)
            )

    def reject(self, file: str, image_id: str, reason: str) -> None:
        """Turn `file`, or the row that names it, away."""
        self._met.add(file)
        self.rejected.append(Rejected(file, image_id, reason))

    def reject_images_without_a_row(self, images: Iterable[str], table: str) -> None:
        """Turn away every one of `images` that no row has named so far."""
        self.reject_unmet(images, f"image without a row: {table} does not name it")

    def reject_unmet(self, files: Iterable[str], reason: str) -> None:
        """Turn away every one of `files` that has been neither kept nor rejected so far."""
        for file in files:
            if file not in self._met:
                self.reject(file, "", reason)
