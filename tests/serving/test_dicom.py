"""The DICOM objects: what the standard wants, what must be conspicuous, and that they come back as they were."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from mammogan.data.pixels import open_raw
from mammogan.data.sources.headers import read_header
from mammogan.errors import DataError
from mammogan.serving.dicom import VIEWS, Subject, dicom_of
from mammogan.serving.images import jpeg_of, png_of
from mammogan.serving.recipe import Recipe
from mammogan.serving.stored import read_stored

RIGHT = Subject("1900000001", "R", "MLO", 0.35)


@pytest.fixture
def recipe(stamp):
    return Recipe("dcgan", stamp.weights_sha256, 7, 3, 0.7, labels={"cancer": "1"})


def image(bits=8, side=33):
    return np.random.default_rng(0).integers(0, 2**bits, (side, side)).astype(f"u{bits // 8}")


@pytest.fixture
def write(tmp_path, recipe, stamp):
    def write(pixels, subject=RIGHT):
        path = tmp_path / "one.dcm"
        path.write_bytes(dicom_of(pixels, recipe, stamp, subject))
        return path

    return write


@pytest.mark.parametrize("bits", [8, 16])
def test_the_pixels_come_back_in_pydicom_and_in_the_reader_of_raw_images(write, bits):
    path = write(image(bits))
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, image(bits))
    raw = open_raw(path)
    np.testing.assert_allclose(raw.read().image, image(bits) / (2**bits - 1), atol=1e-6)
    assert raw.spacing_mm == 0.35


def test_nobody_can_take_it_for_a_patient(write):
    found = pydicom.dcmread(write(image()))
    assert found.SyntheticData == "YES"
    assert found.ImageType == ["DERIVED", "SECONDARY"]
    for keyword in ("PatientName", "PatientComments", "StudyDescription", "SeriesDescription", "ImageComments"):
        assert "SYNTHETIC" in str(found[keyword].value)
    assert found.PatientID == "1900000001"
    assert found.IssuerOfPatientID == "mammogan-synthetic"
    assert found.PatientBirthDate == found.StudyDate == found.AccessionNumber == ""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert found[keyword].value.startswith("2.25.")
        assert found[keyword].value.is_valid


@pytest.mark.parametrize(("side", "view", "orientation"), [("L", "CC", ["A", "R"]), ("R", "MLO", ["P", "FL"])])
def test_side_and_view_are_read_as_they_were_meant(write, side, view, orientation):
    path = write(image(), Subject("1900000001", side, view, 0.35))
    assert (read_header(path).laterality, read_header(path).view) == (side, view)
    assert pydicom.dcmread(path).PatientOrientation == orientation


def test_the_same_image_gives_the_same_bytes_and_another_subject_another_uid(recipe, stamp):
    first, again = (dicom_of(image(), recipe, stamp, RIGHT) for _ in range(2))
    assert first == again
    uids = set()
    for subject in (RIGHT, Subject("1900000002", "R", "MLO", 0.35), Subject("1900000001", "R", "CC", 0.35)):
        data = pydicom.dcmread(pydicom.filebase.DicomBytesIO(dicom_of(image(), recipe, stamp, subject)))
        uids.add(data.SOPInstanceUID)
    assert len(uids) == 3


def test_what_the_standard_has_no_place_for_is_refused(recipe, stamp):
    with pytest.raises(DataError, match="one of CC, MLO, ML, LM; got ''"):
        dicom_of(image(), recipe, stamp, Subject("1900000001", "L", "", 0.35))
    with pytest.raises(DataError, match="spacing of 0 mm"):
        dicom_of(image(), recipe, stamp, Subject("1900000001", "L", "CC", 0.0))


@pytest.mark.parametrize("bits", [8, 16])
def test_every_format_carries_its_recipe(tmp_path, write, recipe, bits):
    (tmp_path / "one.png").write_bytes(png_of(image(bits), recipe.words() | {"mirrored": "true"}))
    (tmp_path / "one.jpg").write_bytes(jpeg_of(image(bits), recipe.words() | {"mirrored": "true"}))
    write(image(bits))
    for name in ("one.png", "one.jpg", "one.dcm"):
        stored = read_stored(tmp_path / name)
        assert (stored.recipe, stored.mirrored) == (recipe, True)
        np.testing.assert_array_equal(stored.pixels, stored.shown(image(bits)[:, ::-1]))


def test_files_that_tell_nothing_are_refused_in_one_line(tmp_path, write):
    (tmp_path / "a.png").write_bytes(png_of(image(), {}))
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "c.dcm").write_bytes(b"no image")
    cut = write(image())
    cut.write_bytes(cut.read_bytes()[:-40])
    for name, word in (("a.png", "no manifest id"), ("b.png", "neither"), ("c.dcm", "neither"), ("one.dcm", "damaged")):
        with pytest.raises(DataError, match=word):
            read_stored(tmp_path / name)
    with pytest.raises(DataError, match="missing"):
        read_stored(tmp_path / "none.png")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of Debian's dicom3tools")
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("bits", [8, 16])
def test_dciodvfy_finds_no_error(write, bits, side, view):
    path = write(image(bits), Subject("1900000001", side, view, 0.35))
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    errors = [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]
    # Synthetic Data is younger than the dictionary of Debian's version
    assert [line for line in errors if "(0x0008,0x001c)" not in line] == []
    assert "MammographyImageForPresentation" in done.stdout + done.stderr
