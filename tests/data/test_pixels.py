"""Grey levels of PNG and DICOM files, and files that are neither."""

import struct
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from dicom_files import NAME, write_dicom
from mammogan.data.voi import robust_range, window
from mammogan.errors import DataError
from whole_images import read_pixels

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # every 12-bit level once


def test_an_8_bit_png_keeps_every_level(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png")
    assert pixels.image.dtype == np.float32
    np.testing.assert_array_equal(np.rint(pixels.image * 255), levels)
    assert pixels.how == "8-bit PNG"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_a_png_whose_channels_are_equal_is_grey(tmp_path, mode):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.rint(read_pixels(tmp_path / "a.png").image * 255), levels)


def test_a_colour_png_is_refused(tmp_path):
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: colour image: its channels differ"):
        read_pixels(tmp_path / "a.png")


def test_a_16_bit_png_is_scaled_by_65535(tmp_path):
    Image.fromarray(np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png")
    np.testing.assert_allclose(pixels.image * 255, [[0, 100], [200, 255]], atol=1e-4)
    assert pixels.how == "16-bit PNG"


def test_12_bits_in_a_16_bit_png_are_neither_black_nor_clipped(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png")
    np.testing.assert_allclose(pixels.image, RAMP / 4095, atol=1e-6)
    assert len(np.unique(pixels.image)) == 4096
    assert pixels.how == "16-bit PNG with 12 bits in use, range 0 to 4095"


def test_a_hot_pixel_does_not_darken_an_image_with_few_bits(tmp_path):
    stored = RAMP // 4
    stored[0, 0] = 30000
    Image.fromarray(stored).save(tmp_path / "a.png")
    assert read_pixels(tmp_path / "a.png").image[-1, -1] == pytest.approx(0.8, abs=0.01)


def test_the_robust_range_of_an_ordinary_image_is_its_whole_range():
    assert robust_range(np.arange(1000), np.ones(1000, dtype=int)) == (0, 999)


def test_the_robust_range_is_that_of_the_percentiles_of_all_pixels():
    values = np.random.default_rng(0).normal(1000, 50, 9999).round().astype(int)
    values[:3] = 4000
    low, high = np.percentile(values, (0.1, 99.9))
    levels, counts = np.unique(values, return_counts=True)
    assert robust_range(levels, counts) == pytest.approx((values.min(), high + (high - low) / 4))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1865, 3246), (700.5, 301)])
def test_windows_equal_those_of_pydicom(function, center, width):
    header = Dataset()
    header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 12, 0
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = center, width, function
    np.testing.assert_allclose(window(RAMP, center, width, function), apply_windowing(RAMP, header) / 4095, atol=1e-6)


def test_of_several_windows_the_first_is_taken(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=[1000, 3000], WindowWidth=[2000, 100])
    pixels = read_pixels(path)
    np.testing.assert_allclose(pixels.image, window(RAMP, 1000, 2000, "LINEAR"), atol=1e-6)
    assert pixels.how == "12-bit MONOCHROME2, LINEAR window 1000/2000"


def test_monochrome1_is_inverted_after_the_window(tmp_path):
    elements = {"WindowCenter": 1000, "WindowWidth": 1001, "PhotometricInterpretation": "MONOCHROME1"}
    pixels = read_pixels(write_dicom(tmp_path / "a.dcm", RAMP, **elements))
    np.testing.assert_allclose(pixels.image, 1 - window(RAMP, 1000, 1001, "LINEAR"), atol=1e-6)
    assert pixels.how.endswith("inverted")


def test_the_window_is_applied_to_rescaled_values(tmp_path):
    elements = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 4000}
    pixels = read_pixels(write_dicom(tmp_path / "a.dcm", RAMP, **elements))
    np.testing.assert_allclose(pixels.image, window(RAMP * 2.0 - 1000, 1000, 4000, "LINEAR"), atol=1e-6)


def test_without_a_window_padding_does_not_stretch_the_range(tmp_path):
    stored = (1000 + RAMP // 4).astype(np.uint16)
    stored[:, :8] = 4095
    pixels = read_pixels(write_dicom(tmp_path / "a.dcm", stored, PixelPaddingValue=4095))
    assert pixels.image[:, :8].max() == 0
    assert pixels.image[0, 8] == pytest.approx(0, abs=0.01)
    assert pixels.image[-1, -1] == 1
    assert pixels.how == "12-bit MONOCHROME2, no window, range 1002 to 2023, padding overwritten"


def test_the_grey_background_of_a_sigmoid_window_becomes_black(tmp_path):
    stored = RAMP.copy()
    stored[:, :8] = 4095
    elements = {"WindowCenter": 2048, "WindowWidth": 3000, "VOILUTFunction": "SIGMOID", "PixelPaddingValue": 4095}
    pixels = read_pixels(write_dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation="MONOCHROME1", **elements))
    assert pixels.image[:, :8].max() == 0
    inverted = 1 - window(stored, 2048, 3000, "SIGMOID")
    np.testing.assert_allclose(pixels.image, (inverted - inverted.min()) / (1 - inverted.min()), atol=1e-6)


def test_a_voi_lut_is_preferred_to_a_window(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (RAMP.ravel()[::-1] // 2).tobytes()  # declares 16 bits, holds 11
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[table], WindowCenter=1, WindowWidth=2)
    pixels = read_pixels(path)
    np.testing.assert_allclose(pixels.image, (4095 - RAMP) // 2 / 2047, atol=1e-6)
    assert pixels.how == "12-bit MONOCHROME2, VOI LUT"


def test_a_window_of_no_width_counts_as_none(tmp_path):
    pixels = read_pixels(write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=1000, WindowWidth=0))
    assert pixels.how == "12-bit MONOCHROME2, no window, range 0 to 4095"


@pytest.mark.parametrize(("center", "width"), [(1e6, 100), (2000, 1e7), (-5000, 100)])
@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
def test_a_window_that_leaves_no_contrast_is_passed_over(tmp_path, center, width, function):
    elements = {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function}
    pixels = read_pixels(write_dicom(tmp_path / "a.dcm", RAMP, **elements))
    np.testing.assert_allclose(pixels.image, RAMP / 4095, atol=1e-6)
    assert pixels.how == f"12-bit MONOCHROME2, window {center:g}/{width:g} unusable, range 0 to 4095"


@pytest.mark.parametrize("data", [None, bytes(10)])
def test_a_voi_lut_that_cannot_be_read_gives_way_to_the_window(tmp_path, data):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    if data is not None:
        table.LUTData = data
    elements = {"VOILUTSequence": [table], "WindowCenter": 2048, "WindowWidth": 4096}
    pixels = read_pixels(write_dicom(tmp_path / "a.dcm", RAMP, **elements))
    assert pixels.how == "12-bit MONOCHROME2, VOI LUT unusable, LINEAR window 2048/4096"
    assert np.ptp(pixels.image) > 0.99


@pytest.mark.parametrize(("photometric", "padding", "dimmest"), [("MONOCHROME2", 0, 1000), ("MONOCHROME1", 4095, 2000)])
def test_the_dimmest_tissue_is_brighter_than_the_padding_beyond_it(tmp_path, photometric, padding, dimmest):
    stored = np.full((64, 64), padding, np.uint16)
    stored[20:] = np.linspace(1000, 2000, 44 * 64).astype(np.uint16).reshape(44, 64)
    elements = {"PhotometricInterpretation": photometric, "PixelPaddingValue": padding}
    stored[40, 40] = dimmest
    image = read_pixels(write_dicom(tmp_path / "a.dcm", stored, **elements)).image
    assert image[:20].max() == 0
    assert 0.015 < image[40, 40] < 0.025
    assert image[20:].min() == image[40, 40]


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"NumberOfFrames": 2}, r"several frames"),
        ({"PhotometricInterpretation": "RGB"}, r"colour image: \(0028,0004\) is not MONOCHROME1 or MONOCHROME2"),
        ({"PhotometricInterpretation": NAME[:16]}, r"colour image"),
        ({"Rows": 65535, "Columns": 65535}, r"absurd size"),
        ({"PixelData": RAMP.tobytes()[:100]}, r"unreadable: truncated or damaged Explicit VR Little Endian pixels"),
        ({"VOILUTFunction": NAME, "WindowCenter": 1, "WindowWidth": 2}, r"contradictory DICOM header: \(0028,1056\)"),
        ({"RescaleSlope": 0}, r"contradictory DICOM header: \(0028,1053\) is 0"),
    ],
)
def test_a_dicom_that_cannot_be_used_gives_its_reason_and_no_name(tmp_path, caplog, elements, reason):
    with disable_value_validation():
        path = write_dicom(tmp_path / "a.dcm", RAMP, **elements)
    with pytest.raises(DataError, match=rf"a\.dcm: .*{reason}") as caught:
        read_pixels(path)
    assert "SECRET" not in str(caught.value) + caplog.text


def test_pydicom_s_own_warnings_about_a_damaged_header_are_not_passed_on(tmp_path, caplog):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1", b"1.2.840.SECRET1.2.1"))
    with pytest.raises(DataError, match=r"unsupported transfer syntax") as caught:
        read_pixels(path)
    assert "SECRET" not in str(caught.value) + caplog.text


def test_a_dicom_without_pixels_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    short = path.read_bytes()
    path.write_bytes(short[: short.index(b"\xe0\x7f\x10\x00")])  # (7FE0,0010) Pixel Data
    with pytest.raises(DataError, match="DICOM without pixel data"):
        read_pixels(path)


@pytest.mark.parametrize("keep", [1, 100, 200, 300, 2000, -1])
def test_a_truncated_dicom_is_refused_in_one_line_without_a_name(tmp_path, keep):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.dcm: .*unreadable") as caught:
        read_pixels(path)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [20, 200, 2000])
def test_a_truncated_png_is_refused(tmp_path, keep):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.png: unreadable"):
        read_pixels(path)


@pytest.mark.parametrize("name", ["a.png", "a.dcm"])
def test_an_empty_a_foreign_and_a_missing_file_are_told_apart(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(DataError, match="file is missing"):
        read_pixels(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="file is empty"):
        read_pixels(path)
    path.write_text("not an image at all, though its name says so")
    with pytest.raises(DataError, match=r"unreadable: not a (PNG|DICOM) file, whatever its name says"):
        read_pixels(path)


def test_an_unknown_kind_of_file_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "a.bmp").write_bytes(b"BM")
    with pytest.raises(DataError, match=r"unknown kind of file: '\.bmp'; convert it to one of \.dcm, \.dicom, \.jpe?g"):
        read_pixels(tmp_path / "a.bmp")


def write_tiff(path: Path, stored: np.ndarray, photometric: int) -> None:
    """A TIFF file of `stored` (H, W, channels) as it is; Pillow would invert while it writes."""
    height, width, channels = stored.shape
    bits, kind = 8 * stored.itemsize, 3 if stored.dtype.kind == "f" else 1
    after = 8 + 2 + 10 * 12 + 4
    data = after + 2 * channels
    tags = {256: width, 257: height, 259: 1, 262: photometric, 273: data, 277: channels, 278: height}
    tags |= {279: stored.nbytes, 339: kind}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries.insert(2, struct.pack("<HHII", 258, 3, channels, bits if channels == 1 else after))
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, 10) + b"".join(entries) + bytes(4) + depths + stored.tobytes())


@pytest.mark.parametrize(("photometric", "expected"), [(0, [1, 0.5, 0]), (1, [0, 0.5, 1])])
@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 254), (np.uint16, 65534), (np.uint16, 4094), (np.float32, 1)])
def test_a_tiff_whose_white_is_zero_is_inverted_at_every_depth(tmp_path, photometric, expected, dtype, scale):
    stored = (np.array([[0, 0.5, 1]]) * scale).astype(dtype)
    write_tiff(tmp_path / "a.tif", stored[..., None], photometric)
    pixels = read_pixels(tmp_path / "a.tif")
    np.testing.assert_allclose(pixels.image, [expected], atol=0.005)
    assert pixels.inverted == (photometric == 0)
    assert pixels.how.endswith(", inverted") == (photometric == 0)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_12_bits_in_a_16_bit_png_with_channels_are_not_cut_to_8_bits(tmp_path, channels):
    colour = np.repeat(RAMP[..., None], channels, axis=2)
    if channels in (2, 4):
        colour[..., -1] = 65535
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(colour))
    pixels = read_pixels(tmp_path / "a.png")
    np.testing.assert_allclose(pixels.image, RAMP / 4095, atol=1e-6)
    assert pixels.how.startswith("16-bit PNG with 12 bits in use")


def test_a_16_bit_colour_png_is_refused(tmp_path):
    colour = np.repeat(RAMP[..., None], 3, axis=2)
    colour[3, 3, 2] += 1
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(colour))
    with pytest.raises(DataError, match=r"a\.png: colour image: its channels differ"):
        read_pixels(tmp_path / "a.png")


def test_half_a_16_bit_colour_png_is_refused(tmp_path):
    whole = imagecodecs.png_encode(np.repeat(RAMP[..., None], 3, axis=2))
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.png: unreadable: truncated or damaged PNG"):
        read_pixels(tmp_path / "a.png")


def test_a_tiff_of_16_bit_channels_is_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", np.repeat(RAMP[..., None], 3, axis=2), photometric=2)
    with pytest.raises(DataError, match=r"a\.tif: unsupported depth"):
        read_pixels(tmp_path / "a.tif")


def test_black_and_white_and_a_palette_out_of_order_keep_their_brightness(tmp_path):
    black_and_white = np.array([[0, 255, 0], [255, 0, 255]], dtype=np.uint8)
    Image.fromarray(black_and_white).convert("1").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png").image, black_and_white / 255)
    indices = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    indices.putpalette([255 - k // 3 for k in range(768)])
    indices.save(tmp_path / "a.png")
    found = np.rint(255 * read_pixels(tmp_path / "a.png").image)
    np.testing.assert_array_equal(found, 255 - np.arange(256).reshape(16, 16))


def test_a_cmyk_jpeg_that_prints_grey_is_grey(tmp_path):
    levels = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    none = Image.new("L", (256, 16))
    Image.merge("CMYK", (none, none, none, Image.fromarray(255 - levels))).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(255 * read_pixels(tmp_path / "a.jpg").image, levels, atol=4)


def test_an_animated_png_is_refused(tmp_path):
    frame = Image.fromarray(RAMP.astype(np.uint8))
    frame.save(tmp_path / "a.png", save_all=True, append_images=[frame.rotate(90)])
    with pytest.raises(DataError, match=r"a\.png: several frames"):
        read_pixels(tmp_path / "a.png")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", ["grey.png", "rgb.png", "float.tif"])
def test_the_largest_image_takes_at_most_700_mib(tmp_path, kind):
    side = 2**13
    levels = np.tile(np.arange(side, dtype=np.uint16), (side, 1))
    path = tmp_path / kind
    if kind == "rgb.png":
        path.write_bytes(imagecodecs.png_encode(np.repeat(levels[..., None], 3, axis=2), level=1))
    else:
        Image.fromarray(levels if kind == "grey.png" else levels.astype(np.float32)).save(path, compress_level=1)
    code = (
        "import sys, pathlib; from mammogan.data.pixels import open_raw; "
        "assert open_raw(pathlib.Path(sys.argv[1])).read().image.shape == (8192, 8192); "
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    told = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
    assert 256 < int(told) / 1024 < 700  # VmHWM, for ru_maxrss begins with the peak of this process
