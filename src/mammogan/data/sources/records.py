"""What a source yields: images with their labels in one vocabulary, and what was turned away."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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
    laterality: str = ""  # of the breast, where row or name tell it


@dataclass(frozen=True)
class Catalogue:
    """All that a source holds, in a fixed order, and why it was taken for this source."""

    source: SourceName
    why: str
    mammograms: list[Mammogram]
    rejected: list[Rejected]


@dataclass
class Collection:
    """Images as a reader meets them; a patient's id or a file that comes a second time is turned away."""

    root: Path
    mammograms: list[Mammogram] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    synthetic: int = 0  # images of `mammogan enrich`, passed over
    note: str = ""  # joins the catalogue's `why`
    _met: set[str] = field(default_factory=set)  # files, kept or rejected
    _kept: set[str] = field(default_factory=set)  # files
    _ids: set[tuple[str | None, str]] = field(default_factory=set)  # patient, image

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
        if (patient_id, image_id) in self._ids:
            self.reject(file, image_id, "image_id named twice: an earlier image of the patient has this id", laterality)
        elif file in self._kept:
            self.reject(file, image_id, "file named twice: an earlier image of the table is this file", laterality)
        else:
            self._met.add(file)
            self._kept.add(file)
            self._ids.add((patient_id, image_id))
            known = patient_id is not None
            patient = patient_id if patient_id is not None else f"unknown: {image_id}"
            self.mammograms.append(
                Mammogram(self.root / file, image_id, patient, known, laterality, view, density, cancer, age)
            )

    def set_aside(self, file: str) -> None:
        """Pass over `file`, which mammogan made."""
        self._met.add(file)
        self.synthetic += 1

    def without(self, files: Iterable[str]) -> None:
        """Pass over those of `files` (relative to `root`) that were kept, which mammogan made."""
        names = {self.root / file for file in files}
        real = [mammogram for mammogram in self.mammograms if mammogram.file not in names]
        self.synthetic += len(self.mammograms) - len(real)
        self.mammograms = real

    def reject(self, file: str, image_id: str, reason: str, laterality: str = "") -> None:
        """Turn `file`, or the row that names it, away."""
        self._met.add(file)
        self.rejected.append(Rejected(file, image_id, reason, laterality))

    def lift(self, folder: str) -> None:
        """Name files from the root that `folder` lies in, not from `folder`, which was read."""
        if folder != ".":
            self._met = {f"{folder}/{file}" for file in self._met}
            self.rejected = [
                replace(entry, file=f"{folder}/{entry.file}") if entry.file else entry for entry in self.rejected
            ]

    def tell_ids_apart(self) -> None:
        """Put the patient before an id that images of several patients have; the others stay as they are."""
        counts = Counter(mammogram.image_id for mammogram in self.mammograms)
        taken = {image_id for image_id, count in counts.items() if count == 1}
        for place, mammogram in enumerate(self.mammograms):
            if counts[mammogram.image_id] > 1:
                image_id = f"{mammogram.patient_id}/{mammogram.image_id}"
                while image_id in taken:
                    image_id += "+"
                taken.add(image_id)
                self.mammograms[place] = replace(mammogram, image_id=image_id)

    def reject_images_without_a_row(self, images: Iterable[str], table: str) -> None:
        """Turn away every one of `images` that no row has named so far."""
        self.reject_unmet(images, f"image without a row: {table} does not name it")

    def reject_unmet(self, files: Iterable[str], reason: str) -> None:
        """Turn away every one of `files` that has been neither kept nor rejected so far."""
        for file in files:
            if file not in self._met:
                self.reject(file, "", reason)
