"""Damaged, hostile and foreign files: one DataError each, and nothing out of the file in its message."""

import builtins
import errno
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_files import codestream, texture, write_dicom
from mammogan.data.pixels import Pixels
from mammogan.data.raw import UnreadError
from mammogan.data.sources.headers import read_header
from mammogan.errors import DataError
from whole_images import read_pixels

GREY = texture(40, 56)
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
]
Make = Callable[[Path], Path]


def dicom(syntax=ExplicitVRLittleEndian, stored=GREY, **elements) -> Make:
    def make(folder: Path) -> Path:
        with disable_value_validation():
            return write_dicom(folder / "a.dcm", stored, syntax, **elements)

    return make


def cut(make: Make, keep: float) -> Make:
    def shortened(folder: Path) -> Path:
        path = make(folder)
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data))])
        return path

    return shortened


def swapped(make: Make, old: bytes, new: bytes) -> Make:
    def changed(folder: Path) -> Path:
        path = make(folder)
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, 1))
        return path

    return changed


def holding(name: str, data: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def saved(name: str, image: Image.Image, **options) -> Make:
    def make(folder: Path) -> Path:
        image.save(folder / name, **options)
        return folder / name

    return make


def frame(syntax, stored=GREY, **elements) -> Make:
    """A DICOM file whose header speaks of GREY and whose compressed frame holds `stored`."""
    return dicom(syntax, PixelData=encapsulate([codestream(stored, syntax, 8 * stored.itemsize)]), **elements)


def half_a_frame(syntax) -> Make:
    """A whole DICOM file around half a codestream."""
    data = codestream(GREY, syntax, 12)
    return dicom(syntax, PixelData=encapsulate([data[: len(data) // 2]]))


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def float_tiff(value: float) -> Image.Image:
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    image[3, 3] = value
    return Image.fromarray(image)


RGB = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
J2K = codestream(GREY, JPEG2000Lossless, 12)
SIZE_OF_J2K = struct.pack(">II", 56, 40)  # Xsiz, Ysiz
SIZE_OF_JPEG = struct.pack(">HH", 40, 56)
PIXELS = b"\xe0\x7f\x10\x00"
ABSURD, DAMAGED, CONTRADICTS = (
    "unreadable: .*absurd size",
    "unreadable: truncated or damaged",
    "unreadable: .*contradict",
)

BAD: dict[str, tuple[Make, str]] = {
    "missing": (lambda folder: folder / "a.dcm", "file is missing"),
    "a folder": (lambda folder: folder, "file is missing"),
    **{f"empty {s}": (holding(f"a{s}", b""), "file is empty") for s in (".dcm", ".png", ".tif", ".jpg", ".pgm")},
    **{
        f"text as {s}": (holding(f"a{s}", b"hello, this is no picture at all" * 9), "unreadable: not a")
        for s in (".dcm", ".dicom", ".png", ".tif", ".jpg", ".pgm")
    },
    "png named dcm": (holding("a.dcm", png_claiming(8, 8)), "unreadable: not a DICOM file"),
    "jpeg named png": (saved("a.png", Image.fromarray(RGB[..., 0]), format="JPEG"), "unreadable: not a PNG"),
    "unknown suffix": (holding("a.bmp", b"BM"), "unknown kind of file"),
    "no suffix": (holding("scan", b"BM"), "unknown kind of file"),
    **{f"half of {s.name}": (cut(dicom(s), 0.6), "unreadable: .*(damaged|cut short)") for s in SYNTAXES},
    **{f"half a frame of {s.name}": (half_a_frame(s), DAMAGED) for s in SYNTAXES[4:]},
    **{f"a tenth of {s.name}": (cut(dicom(s), 0.1), "unreadable") for s in SYNTAXES},
    "half a png": (cut(saved("a.png", Image.fromarray(GREY)), 0.5), DAMAGED),
    "half a jpeg": (cut(saved("a.jpg", Image.fromarray(RGB[..., 0])), 0.5), DAMAGED),
    "half a tiff": (cut(saved("a.tif", Image.fromarray(RGB[..., 0]), compression="tiff_lzw"), 0.5), "unreadable"),
    "half a pgm": (cut(saved("a.pgm", Image.fromarray(RGB[..., 0])), 0.5), DAMAGED),
    "dicom bomb": (dicom(Rows=65535, Columns=65535), ABSURD),
    "dicom of no rows": (dicom(Rows=0), ABSURD),
    "png bomb": (holding("a.png", png_claiming(65535, 65535)), ABSURD),
    "wide png": (holding("a.png", png_claiming(20000, 9000)), ABSURD),
    "pgm bomb": (holding("a.pgm", b"P5 65535 65535 255\n" + bytes(99)), ABSURD),
    "j2k bomb": (swapped(frame(JPEG2000Lossless), SIZE_OF_J2K, struct.pack(">II", 65535, 65535)), ABSURD),
    "jpeg bomb": (swapped(frame(JPEGLosslessSV1), SIZE_OF_JPEG, b"\xff\xff\xff\xff"), ABSURD),
    "jpeg-ls bomb": (swapped(frame(JPEGLSLossless), SIZE_OF_JPEG, b"\xff\xff\xff\xff"), ABSURD),
    "other size in j2k": (frame(JPEG2000Lossless, GREY[:-1]), CONTRADICTS),
    "other size in jpeg": (frame(JPEGLosslessSV1, GREY[:-1]), CONTRADICTS),
    "other size in jpeg-ls": (frame(JPEGLSLossless, GREY[:, 1:]), CONTRADICTS),
    "colour in j2k": (frame(JPEG2000Lossless, RGB), "colour image"),
    "no codestream": (dicom(JPEG2000Lossless, PixelData=encapsulate([b"no codestream at all"])), DAMAGED),
    "run-length segments that lead nowhere": (
        swapped(dicom(RLELossless), struct.pack("<II", 2, 64), struct.pack("<II", 2, 0xFFFFFF00)),
        DAMAGED,
    ),
    "no fragment": (dicom(JPEGLosslessSV1, PixelData=b"\xfe\xff\x00\xe0\x00\x00\x00\x00"), DAMAGED),
    "too few pixels": (dicom(PixelData=GREY.tobytes()[:100]), DAMAGED),
    "no pixels": (dicom(PixelData=b""), DAMAGED),
    "unsupported syntax": (
        swapped(dicom(), b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.6\0"),
        "unsupported transfer syntax",
    ),
    "three samples": (dicom(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "colour image"),
    "three samples called grey": (dicom(SamplesPerPixel=3), "colour image"),
    "tomosynthesis": (dicom(NumberOfFrames=60), "several frames"),
    "32 bits": (dicom(BitsAllocated=32, BitsStored=32, HighBit=31), "unsupported depth"),
    "more bits than there are": (dicom(BitsStored=17, HighBit=16), "unsupported depth"),
    "high bit elsewhere": (dicom(HighBit=15), "unsupported depth"),
    **{
        f"spacing {value}": (dicom(PixelSpacing=value), "absurd pixel spacing: ")
        for value in (["0", "0"], ["-0.1", "-0.1"], ["NaN", "NaN"], ["7", "7"], ["0.001", "0.001"], ["0.1", "0.2"])
    },
    "one spacing": (dicom(ImagerPixelSpacing=["0.1"]), "absurd pixel spacing: "),
    "unknown window function": (dicom(VOILUTFunction="SECRET", WindowCenter=1, WindowWidth=9), CONTRADICTS),
    "unknown representation": (
        swapped(dicom(WindowCenter=1, WindowWidth=9), b"\x28\x00\x51\x10DS", b"\x28\x00\x51\x10D\xe4"),
        "unreadable",
    ),
    "endless slope": (dicom(RescaleSlope="1e999", WindowCenter=1, WindowWidth=9), "unreadable: .*finite"),
    "nan in tiff": (saved("a.tif", float_tiff(np.nan)), "unreadable: .*not finite"),
    "infinity in tiff": (saved("a.tif", float_tiff(np.inf)), "unreadable: .*not finite"),
    "two pages": (
        saved("a.tif", Image.fromarray(GREY), save_all=True, append_images=[Image.fromarray(GREY)]),
        "several frames",
    ),
    "colour png": (saved("a.png", Image.fromarray(RGB)), "colour image"),
    "colour jpeg": (saved("a.jpg", Image.fromarray(RGB)), "colour image"),
    "colour tiff": (saved("a.tif", Image.fromarray(RGB)), "colour image"),
    "32-bit tiff": (saved("a.tif", Image.fromarray(np.full((8, 8), 10**6, np.int32))), "unsupported depth"),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=BAD)
def test_a_bad_image_is_one_clear_error(tmp_path, caplog, capfd, make, reason):
    path = make(tmp_path)
    with pytest.raises(DataError, match=reason) as caught:
        read_pixels(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "SECRET" not in message + caplog.text + "".join(capfd.readouterr())


def read_or_error(path: Path) -> Pixels | str:
    try:
        return read_pixels(path)
    except DataError as err:
        return str(err)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name[:28])
def test_any_damage_to_a_dicom_gives_pixels_or_an_error(tmp_path_factory, syntax):
    path = write_dicom(tmp_path_factory.mktemp("fuzz") / "a.dcm", GREY, syntax, WindowCenter=2048, WindowWidth=4096)
    whole = path.read_bytes()

    @settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(132, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=8),
        st.one_of(st.none(), st.integers(0, len(whole))),
    )
    def mutate(changes, end):
        damaged = bytearray(whole)
        for at, value in changes:
            damaged[at] = value
        path.write_bytes(damaged[:end])
        outcome = read_or_error(path)
        if isinstance(outcome, Pixels):
            assert np.isfinite(outcome.image).all()
        else:
            assert outcome.startswith(f"{path}: ")
            assert "SECRET" not in outcome

    mutate()


def test_names_planted_in_every_text_element_and_in_private_tags_never_come_out(tmp_path, caplog, capfd):
    texts = [
        "PatientName", "PatientID", "PatientBirthDate", "PatientComments", "AccessionNumber", "InstitutionName",
        "ReferringPhysicianName", "StudyDescription", "SeriesDescription", "Manufacturer", "StationName",
        "ImageComments", "WindowCenterWidthExplanation", "VOILUTFunction", "PixelSpacingCalibrationDescription",
    ]  # fmt: skip
    planted = dict.fromkeys(texts, "SECRET")
    for syntax in SYNTAXES:
        with disable_value_validation():
            path = write_dicom(tmp_path / "a.dcm", GREY, syntax, **planted)
        whole = path.read_bytes()
        for old, new in {
            b"MONOCHROME2": b"SECRET_MONO",
            PIXELS: b"\xe0\x7f\x11\x00",
            b"\x28\x00\x10\x00": b"\x29\x00\x10\x10",  # Rows becomes a private element
            b"SECRET": b"SECRET",
        }.items():
            path.write_bytes(whole.replace(old, new))
            assert "SECRET" not in repr(read_or_error(path)) + caplog.text + "".join(capfd.readouterr())


FAULTS = [PermissionError(errno.EACCES, "no"), OSError(errno.EIO, "no"), OSError(errno.EMFILE, "no")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: errno.errorcode[fault.errno])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.dcm"])
def test_a_fault_of_the_machine_is_no_damage_of_the_file(tmp_path, monkeypatch, name, fault):
    if name == "a.dcm":
        dicom()(tmp_path)
    else:
        Image.fromarray(GREY).save(tmp_path / name)

    def refuse(*args, **options):
        raise fault

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(io, "open", refuse)
    readers = [read_pixels, read_header] if name == "a.dcm" else [read_pixels]
    for read in readers:
        with pytest.raises(UnreadError, match="cannot be read: check the file's permissions and the disk") as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize("place", ["raster.Image.open", "dicom.pydicom.dcmread", "decode._decode", "voi._table"])
def test_running_out_of_memory_is_no_damage_of_the_file(tmp_path, monkeypatch, place):
    path = dicom()(tmp_path)
    if place.startswith("raster"):
        path = tmp_path / "a.png"
        Image.fromarray(GREY).save(path)

    def run_out(*args, **options):
        raise MemoryError

    monkeypatch.setattr(f"mammogan.data.{place}", run_out)
    with pytest.raises(MemoryError):
        read_pixels(path)
