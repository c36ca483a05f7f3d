"""Every transfer syntax comes back bit for bit, and reduced decoding is close to the mean of the area."""

import csv
import hashlib

import numpy as np
import pytest
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from scipy import ndimage

from dicom_files import PLAIN, texture, write_dicom
from mammogan.data.dicom import open_dicom
from mammogan.data.pixels import open_raw
from real_sets import SHARED, needs_real_sets

FILMS = SHARED / "cbis-ddsm-dicom"
LOSSLESS = (*PLAIN, RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name[:28])
def test_every_lossless_syntax_is_decoded_bit_for_bit(tmp_path, syntax, bits):
    stored = texture(45, 62, bits)
    raw = open_dicom(write_dicom(tmp_path / "a.dcm", stored, syntax, bits))
    np.testing.assert_array_equal(raw.stored(), stored)
    assert (raw.height, raw.width) == (45, 62)


@pytest.mark.parametrize("syntax", [*PLAIN, RLELossless, JPEG2000Lossless], ids=lambda syntax: syntax.name[:28])
def test_signed_pixels_keep_their_sign_and_are_decoded_in_full_only(tmp_path, syntax):
    stored = texture(45, 62, 12).astype(np.int16) - 2048
    raw = open_dicom(write_dicom(tmp_path / "a.dcm", stored, syntax, 12 if syntax != JPEG2000Lossless else 16))
    np.testing.assert_array_equal(raw.stored(), stored)
    assert raw.reductions == (1,)


@pytest.mark.parametrize(
    ("syntax", "bits", "within"),
    [(JPEGBaseline8Bit, 8, 12), (JPEGExtended12Bit, 12, 200), (JPEGLSNearLossless, 12, 2), (JPEG2000, 12, 60)],
    ids=["baseline", "extended", "near-lossless", "jpeg 2000"],
)
def test_lossy_syntaxes_are_decoded_closely(tmp_path, syntax, bits, within):
    stored = texture(64, 96, bits)
    found = open_dicom(write_dicom(tmp_path / "a.dcm", stored, syntax, bits)).stored()
    assert 0 < np.abs(found.astype(int) - stored).max() <= within


def test_bits_above_the_stored_ones_are_no_grey_values(tmp_path):
    stored = texture(45, 62, 12)
    raw = open_dicom(write_dicom(tmp_path / "a.dcm", stored | 0x8000))
    np.testing.assert_array_equal(raw.stored(), stored)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("shape", [(640, 512), (517, 389), (641, 513)])
def test_a_reduced_image_stands_on_every_second_or_fourth_stored_pixel(tmp_path, shape, bits):
    raw = open_raw(write_dicom(tmp_path / "a.dcm", texture(*shape, bits), JPEG2000Lossless, bits, WindowWidth=0))
    assert raw.reductions == (1, 2, 4, 8, 16)
    full = raw.read().image
    for reduction in (2, 4):
        pixels = raw.read(reduction)
        assert pixels.image.shape == tuple(-(-side // reduction) for side in shape)
        assert pixels.reduction == reduction
        near = ndimage.gaussian_filter(full, reduction / 2)[::reduction, ::reduction]
        beside = ndimage.gaussian_filter(full, reduction / 2)[reduction // 2 :: reduction, reduction // 2 :: reduction]
        rows, columns = beside.shape
        assert _psnr(pixels.image, near) > 30
        assert _psnr(pixels.image, near) > _psnr(pixels.image[:rows, :columns], beside) + 3


def test_every_offered_reduction_can_be_read_at_odd_sizes(tmp_path):
    for side in range(81, 98):
        raw = open_raw(write_dicom(tmp_path / "a.dcm", texture(side, 113), JPEG2000Lossless))
        for reduction in raw.reductions:
            assert raw.read(reduction).image.shape == (-(-side // reduction), -(-113 // reduction))


def test_a_reduction_that_is_not_offered_is_a_bug_of_the_caller(tmp_path):
    raw = open_raw(write_dicom(tmp_path / "a.dcm", texture(64, 64)))
    with pytest.raises(ValueError, match=r"reduction 2 is none of \(1,\)"):
        raw.read(2)


def test_nothing_of_the_patient_is_kept(tmp_path):
    raw = open_dicom(write_dicom(tmp_path / "a.dcm", texture(8, 8)))
    assert "SECRET" not in repr(raw)
    assert "SECRET" not in str(raw._header)


def _hashed_dicoms() -> list[tuple[str, str]]:
    if not FILMS.is_dir():
        return []
    with (FILMS / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return [(row["file"], row["pixel_sha256"]) for row in csv.DictReader(file)]


@needs_real_sets
@pytest.mark.parametrize(("file", "sha256"), _hashed_dicoms())
def test_real_files_are_decoded_bit_for_bit(file, sha256):
    raw = open_dicom(FILMS / file)
    assert hashlib.sha256(np.ascontiguousarray(raw.stored(), dtype="<u2")).hexdigest() == sha256


@needs_real_sets
def test_real_dicoms_come_out_with_a_black_background():
    for path in sorted(FILMS.glob("rsna_layout/**/*.dcm")):
        image = open_raw(path).read().image
        # more than half of each film is background
        assert np.median(image) == pytest.approx(0.005, abs=0.06), path.name
        assert image.max() > 0.9, path.name


def _psnr(image: np.ndarray, reference: np.ndarray) -> float:
    height, width = reference.shape
    return float(-10 * np.log10(np.mean((image[:height, :width] - reference) ** 2)))
