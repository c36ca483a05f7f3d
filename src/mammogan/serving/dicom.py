"""A synthetic image as a DICOM object that a PACS takes in and that nobody takes for a patient's.

Digital Mammography X-Ray Image Storage - For Presentation (PS3.3 A.27 and C.8.11.7). What each marking stands for, and
why it was chosen: docs/dicom.md. No date, no device serial and no patient: the same arguments give the same bytes.
"""

import io
import uuid
from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from mammogan import __version__
from mammogan.data.tiles import Greys, depth
from mammogan.errors import DataError
from mammogan.serving.images import Stamp
from mammogan.serving.recipe import Recipe, to_line

MARK = "SYNTHETIC IMAGE, NOT OF A PATIENT, NOT FOR DIAGNOSIS"
NAME = "SYNTHETIC^NOT A PATIENT"
ISSUER = "mammogan-synthetic"

_NAMESPACE = uuid.UUID("b6d1b2f4-6a0e-5c83-9a53-0d4cc1d3f0aa")  # of all UIDs made here
_Code = tuple[str, str, str]  # value, scheme, meaning
# PS3.16 CID 4014, with the direction of the columns for a left and a right breast (PS3.3 C.7.6.1.1.1)
_VIEWS: dict[str, tuple[_Code, str, str]] = {
    "CC": (("399162004", "SCT", "cranio-caudal"), "R", "L"),
    "MLO": (("399368009", "SCT", "medio-lateral oblique"), "FR", "FL"),
    "ML": (("399260004", "SCT", "medio-lateral"), "F", "F"),
    "LM": (("399352003", "SCT", "latero-medial"), "F", "F"),
}
VIEWS = tuple(_VIEWS)
_BREAST: _Code = ("76752008", "SCT", "Breast")
_SYNTHESIZING: _Code = ("109100", "DCM", "Synthesizing Equipment")  # PS3.16 CID 7005


@dataclass(frozen=True)
class Subject:
    """Whom a synthetic image stands for: nobody, under an id of the reserved namespace.

    Attributes:
        patient_id: at most 64 characters.
        laterality: L or R; the pixels of a right breast have the chest wall at their right edge.
        view: one of VIEWS.
        spacing_mm: side of a pixel, a property of the training images, not a measurement.
        instance: number of the image in its series; a PACS shows it.
    """

    patient_id: str
    laterality: Literal["L", "R"]
    view: str
    spacing_mm: float
    instance: int = 1


def dicom_of(image: Greys, recipe: Recipe, stamp: Stamp, subject: Subject) -> bytes:
    """Grey levels (H, W), uint8 or uint16, bright = dense, as a DICOM file of that depth, uncompressed.

    `image` lies as it is to be shown: chest wall left for a left breast, right for a right one.

    Raises:
        DataError: the view has no code, or the spacing is no length.
    """
    if subject.view not in _VIEWS:
        raise DataError(f"DICOM needs the view, one of {', '.join(_VIEWS)}; got '{subject.view}'")
    if not 0.01 <= subject.spacing_mm <= 10:
        raise DataError(f"a pixel spacing of {subject.spacing_mm:g} mm is none of a mammogram; give 0.01 to 10")
    dataset = Dataset()
    _patient_and_study(dataset, recipe, subject)
    _equipment(dataset, stamp)
    _mammogram(dataset, subject)
    _pixels(dataset, image, subject)
    _provenance(dataset, recipe, stamp, subject)
    dataset.file_meta = _meta(dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, little_endian=True, implicit_vr=False)
    return buffer.getvalue()


def uid(*parts: str) -> UID:
    """A UID under 2.25, the root for UUIDs (PS3.5 B.2), that is a function of `parts`."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}")


def _patient_and_study(dataset: Dataset, recipe: Recipe, subject: Subject) -> None:
    dataset.PatientName = NAME
    dataset.PatientID = subject.patient_id
    dataset.IssuerOfPatientID = ISSUER
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientComments = MARK
    dataset.StudyInstanceUID = uid("study", subject.patient_id, recipe.manifest_id)
    dataset.StudyDate = ""
    dataset.StudyTime = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = ""
    dataset.AccessionNumber = ""
    dataset.StudyDescription = f"SYNTHETIC mammogram by mammogan {recipe.model}"
    dataset.Modality = "MG"
    dataset.SeriesInstanceUID = uid("series", subject.patient_id, recipe.manifest_id)
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = f"SYNTHETIC {subject.laterality} {subject.view}, not of a patient"
    dataset.PresentationIntentType = "FOR PRESENTATION"


def _equipment(dataset: Dataset, stamp: Stamp) -> None:
    dataset.Manufacturer = "mammogan"
    dataset.ManufacturerModelName = f"mammogan-{stamp.model}"
    dataset.SoftwareVersions = __version__
    generator = Dataset()
    generator.Manufacturer = "mammogan"
    generator.ManufacturerModelName = f"mammogan-{stamp.model}"
    generator.SoftwareVersions = __version__
    generator.PurposeOfReferenceCodeSequence = _coded(_SYNTHESIZING)
    origin = {"version": stamp.model_version, "run": stamp.run_id, "commit": stamp.git_commit, "data": stamp.data_hash}
    generator.ContributionDescription = f"Drawn by a GAN. {to_line({k: v for k, v in origin.items() if v})}"[:1024]
    dataset.ContributingEquipmentSequence = Sequence([generator])


def _mammogram(dataset: Dataset, subject: Subject) -> None:
    code, left, right = _VIEWS[subject.view]
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.InstanceNumber = subject.instance
    dataset.ImageLaterality = subject.laterality
    dataset.PatientOrientation = ["A", left] if subject.laterality == "L" else ["P", right]
    dataset.ViewPosition = subject.view
    dataset.ViewCodeSequence = _coded(code)
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence([])
    dataset.AnatomicRegionSequence = _coded(_BREAST)
    dataset.BodyPartExamined = "BREAST"
    dataset.OrganExposed = "BREAST"
    dataset.PositionerType = "NONE"
    dataset.BreastImplantPresent = "NO"
    dataset.AcquisitionContextSequence = Sequence([])
    dataset.DetectorType = ""


def _pixels(dataset: Dataset, image: Greys, subject: Subject) -> None:
    bits = depth(image)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1  # dense tissue, which lets less X-ray through, is bright
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.VOILUTFunction = "LINEAR"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.ImagerPixelSpacing = dataset.PixelSpacing = [f"{subject.spacing_mm:.6g}"] * 2
    pixels = image.astype(f"<u{bits // 8}").tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def _provenance(dataset: Dataset, recipe: Recipe, stamp: Stamp, subject: Subject) -> None:
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid("image", subject.patient_id, recipe.manifest_id, repr(subject))
    dataset.SyntheticData = "YES"
    dataset.ImageComments = f"{MARK}. mammogan manifest {recipe.manifest_id}"
    words = recipe.words() | ({"mirrored": "true"} if subject.laterality == "R" else {})
    dataset.DerivationDescription = f"SYNTHETIC: {to_line(words)}"


def _meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("implementation")
    meta.ImplementationVersionName = f"MAMMOGAN_{__version__}"[:16]
    return meta


def _coded(code: _Code) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return Sequence([item])
