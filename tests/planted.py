"""DICOM files whose every text element, and some private ones, bear a name that must never come out again."""

from pathlib import Path

import numpy as np
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

NAME = "ZQXJANE"  # in no word of ours
SECRETS = (NAME, "19391127", "8.8.8.777001")

_PLANTED = {
    "AE": NAME,
    "AS": "087Y",
    "CS": NAME,
    "DA": "19391127",
    "DT": "19391127010101",
    "LO": f"{NAME} HOSPITAL",
    "LT": f"{NAME} text",
    "PN": f"{NAME}^DOE",
    "SH": NAME,
    "ST": f"{NAME} street",
    "TM": "010101",
    "UC": f"{NAME} c",
    "UI": "1.2.8.8.8.777001",
    "UR": f"http://{NAME}",
    "UT": f"{NAME} t",
}
# what an image cannot do without, or what decides how it is read
_KEPT = {
    "ImageLaterality",
    "ImageType",
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "SOPClassUID",
    "SpecificCharacterSet",
    "VOILUTFunction",
    "ViewPosition",
}


def planted_dicom(path: Path, image: np.ndarray, laterality: str, **changes: object) -> None:
    """Write uint16 (H, W) as DICOM with planted text; `changes` are elements set at the end."""
    data = Dataset()
    for tag, (vr, multiplicity, _, retired, keyword) in DicomDictionary.items():
        if (
            keyword
            and not retired
            and multiplicity == "1"
            and vr in _PLANTED
            and keyword not in _KEPT
            and tag >> 16 > 2
        ):
            data.add_new(Tag(tag), vr, _PLANTED[vr])
    other = Dataset()
    other.PatientID = NAME
    data.OtherPatientIDsSequence = Sequence([other])
    block = data.private_block(0x0011, f"{NAME} PRIVATE", create=True)
    block.add_new(1, "LO", f"{NAME} in private")
    block.add_new(2, "OB", f"{NAME} as bytes!".encode())
    data.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    data.ImageLaterality = laterality
    data.ViewPosition = "CC"
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = image.shape
    data.SamplesPerPixel = 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = image.astype("<u2").tobytes()
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.8.8.8.777001"
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.ImplementationVersionName = NAME
    data.file_meta.SourceApplicationEntityTitle = NAME
    data.save_as(path, enforce_file_format=True)
    n = sum(keyword_for_tag(element.tag) not in _KEPT and element.VR in _PLANTED for element in data)
    assert n > 300, "the dictionary of pydicom has shrunk: what is planted no longer covers it"
