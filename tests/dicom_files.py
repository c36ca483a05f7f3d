"""Small DICOM files of every transfer syntax, for tests."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

NAME = "SECRET^PLANTED"
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)


def codestream(stored: np.ndarray, syntax: UID, bits: int) -> bytes:
    """`stored` as one compressed frame."""
    if syntax == JPEGLosslessSV1:
        return imagecodecs.jpeg8_encode(stored, lossless=True, predictor=1, bitspersample=bits)
    if syntax == JPEGLossless:
        return imagecodecs.jpeg8_encode(stored, lossless=True, predictor=6, bitspersample=bits)
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return imagecodecs.jpeg8_encode(stored, level=95, bitspersample=bits)
    if syntax == JPEGLSLossless:
        return imagecodecs.jpegls_encode(stored)
    if syntax == JPEGLSNearLossless:
        return imagecodecs.jpegls_encode(stored, level=2)
    if syntax == JPEG2000Lossless:
        return imagecodecs.jpeg2k_encode(stored, codecformat="j2k", bitspersample=bits, reversible=True, resolutions=6)
    assert syntax == JPEG2000
    return imagecodecs.jpeg2k_encode(stored, level=60, codecformat="j2k", bitspersample=bits, resolutions=6)


def write_dicom(
    path: Path, stored: np.ndarray, syntax: UID = ExplicitVRLittleEndian, bits: int = 12, **elements: Any
) -> Path:
    """A DICOM file of `stored` (H, W), 8 or 16 bits; `elements` overrule what follows from it."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    header.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.SOPClassUID = SecondaryCaptureImageStorage
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID
    header.PatientName, header.PatientID = NAME, NAME
    header.Rows, header.Columns = stored.shape[:2]
    header.BitsAllocated, header.BitsStored, header.HighBit = 8 * stored.itemsize, bits, bits - 1
    header.PixelRepresentation, header.SamplesPerPixel = int(stored.dtype.kind == "i"), 1
    header.PhotometricInterpretation = "MONOCHROME2"
    if syntax in (*PLAIN, RLELossless):
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        header.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
        header["PixelData"].VR = "OW" if stored.itemsize == 2 else "OB"
        if syntax == RLELossless:
            header.compress(RLELossless, generate_instance_uid=False)
    else:
        header.PixelData = encapsulate([codestream(stored, syntax, bits)])
        header["PixelData"].VR = "OB"
    for name, value in elements.items():
        setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)
    return path


def texture(height: int, width: int, bits: int = 12, seed: int = 0) -> np.ndarray:
    """Smooth structure with noise, uint8 or uint16 (height, width), over most of the range of `bits`."""
    y, x = np.mgrid[:height, :width].astype(float)
    smooth = 0.5 + 0.2 * np.sin(x / 17 + y / 31) + 0.15 * np.sin(y / 11 - x / 47) + 0.05 * np.sin((x + y) / 9)
    noisy = smooth + np.random.default_rng(seed).normal(0, 0.003, smooth.shape)
    dtype = np.uint8 if bits <= 8 else np.uint16
    return np.rint(np.clip(noisy, 0, 1) * (2**bits - 1)).astype(dtype)
