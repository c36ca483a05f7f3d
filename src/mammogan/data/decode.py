"""The pixel data of a DICOM file, in any of its transfer syntaxes, to the integers that it stores."""

import struct
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from mammogan.data.codestream import Codestream, read_jpeg, read_jpeg2000
from mammogan.data.raw import check_size, damage
from mammogan.errors import DataError

_JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1})
_JPEG_LS = frozenset({JPEGLSLossless, JPEGLSNearLossless})
_JPEG_2000 = frozenset({JPEG2000Lossless, JPEG2000})
COMPRESSED = _JPEG | _JPEG_LS | _JPEG_2000 | {RLELossless}

_MAX_HALVINGS = 4
_END_OF_IMAGE = b"\xff\xd9"


def supported(syntax: UID | None) -> bool:
    """Whether pixels in this transfer syntax can be decoded."""
    return syntax in COMPRESSED or (syntax is not None and syntax.is_transfer_syntax and not syntax.is_compressed)


def inspect(header: Dataset) -> tuple[int, ...]:
    """The factors at which the pixels of `header` can be decoded; its codestream must fit it.

    Raises:
        DataError: the codestream is damaged, absurd, has colours or contradicts the header.
    """
    syntax = header.file_meta.TransferSyntaxUID
    if syntax not in COMPRESSED - {RLELossless}:
        return (1,)
    try:
        frame = _frame(header)
        head = read_jpeg2000(frame) if syntax in _JPEG_2000 else read_jpeg(frame)
    except (ValueError, IndexError, struct.error, StopIteration) as err:
        raise DataError(f"unreadable: truncated or damaged {syntax.name} pixels ({type(err).__name__})") from None
    check_size(head.height, head.width)
    if head.components != 1:
        raise DataError("colour image: its compressed pixels have several channels; convert it to grey")
    if (head.height, head.width) != (int(header.Rows), int(header.Columns)):
        raise DataError("unreadable: its compressed pixels contradict the size in its header")
    if head.bits > 16 or head.bits > int(header.BitsAllocated):
        raise DataError("unreadable: its compressed pixels contradict the depth in its header")
    if head.signed or int(header.PixelRepresentation) or head.bits < 8:
        return (1,)
    return tuple(2**k for k in range(min(head.levels, _MAX_HALVINGS) + 1))


def decode(header: Dataset, reduction: int = 1) -> NDArray[Any]:
    """The stored integers, 8 or 16 bits, (rows, columns), or fewer by `reduction` (JPEG 2000 alone).

    A reduced image is the low-pass band of the wavelet: its pixel i stands on the stored pixel i * reduction, not on
    the middle of a block.

    Raises:
        DataError: the pixels are truncated, damaged or contradict the header.
    """
    syntax = header.file_meta.TransferSyntaxUID
    shape = tuple(-(-int(side) // reduction) for side in (header.Rows, header.Columns))
    with damage(f"unreadable: truncated or damaged {syntax.name} pixels"):
        stored = _decode(header, syntax, reduction)
    if stored.shape != shape or stored.dtype.kind not in "iu" or stored.itemsize > 2:
        raise DataError("unreadable: its pixels contradict the size or depth in its header")
    return stored


def _decode(header: Dataset, syntax: UID, reduction: int) -> NDArray[Any]:
    if syntax in _JPEG_2000 and reduction > 1:
        return _reduced(_frame(header), reduction)
    if syntax in _JPEG_2000:
        stored: NDArray[Any] = imagecodecs.jpeg2k_decode(_frame(header), numthreads=1)
    elif syntax in _JPEG_LS:
        stored = imagecodecs.jpegls_decode(_frame(header))
    elif syntax in _JPEG:
        frame = _frame(header)
        if not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):  # libjpeg-turbo would paint the missing part grey
            raise ValueError("cut short")
        stored = imagecodecs.jpeg8_decode(frame)
    else:
        stored = _plain(header, syntax)
    if stored.dtype.kind == "u":
        # what lies above the stored bits is no grey value (once overlays were kept there); the sign fills them
        spare = 8 * stored.itemsize - int(header.BitsStored)
        signed = bool(int(header.PixelRepresentation))
        if signed and spare >= 0:
            stored = ((stored << spare).view(f"i{stored.itemsize}")) >> spare
        elif spare > 0 and syntax not in COMPRESSED - {RLELossless}:
            stored = stored & np.array(2 ** int(header.BitsStored) - 1, dtype=stored.dtype)
    return stored


def _plain(header: Dataset, syntax: UID) -> NDArray[Any]:
    """Uncompressed or run-length pixels as unsigned integers."""
    rows, columns, size = int(header.Rows), int(header.Columns), int(header.BitsAllocated) // 8
    kind = np.dtype(f"<u{size}")
    data: bytes | bytearray = header.PixelData
    if syntax == RLELossless:
        data = _unpack(_frame(header), rows * columns, size)
    elif syntax == ExplicitVRBigEndian:
        # 8-bit pixels are kept in words, so there the bytes of each pair change places
        words = size == 2 or header["PixelData"].VR == "OW"
        data = np.frombuffer(data, dtype=">u2").astype("<u2").tobytes() if words else data
    stored = np.frombuffer(data, dtype=kind, count=rows * columns)
    return stored.reshape(rows, columns)


def _unpack(frame: bytes, pixels: int, size: int) -> bytes:
    """Run-length coded pixels of `size` bytes, little-endian: a segment for each byte, highest first (PS3.5 G).

    The segments are cut here, not by imagecodecs.dicomrle_decode, which a damaged header makes crash.
    """
    segments, *offsets = struct.unpack_from("<16I", frame)
    bounds = [*offsets[:segments], len(frame)]
    if segments != size or bounds[0] < 64 or bounds != sorted(bounds):
        raise ValueError("no run-length segments")
    planes = np.empty((pixels, size), dtype=np.uint8)
    for k in range(size):
        plane = imagecodecs.packbits_decode(frame[bounds[k] : bounds[k + 1]])
        planes[:, size - 1 - k] = np.frombuffer(plane, dtype=np.uint8, count=pixels)
    return planes.tobytes()


def _reduced(frame: bytes, reduction: int) -> NDArray[Any]:
    head: Codestream = read_jpeg2000(frame)
    with Image.open(BytesIO(frame), formats=("JPEG2000",)) as image:
        image.reduce = reduction.bit_length() - 1  # type: ignore[method-assign, assignment]
        # Pillow rounds the reduced sides to the nearest, the codestream has them rounded up: make the two agree
        image._size = (_round_up(head.width, reduction), _round_up(head.height, reduction))
        image.load()
        stored = np.asarray(image)
    if stored.itemsize == 2:
        stored = stored >> (16 - head.bits)  # Pillow spreads 9 to 16 bits over 16 by a shift to the left
    return stored


def _round_up(side: int, step: int) -> int:
    return -(-side // step) * step


def _frame(header: Dataset) -> bytes:
    """The one frame of encapsulated pixel data, its fragments joined."""
    return bytes(next(generate_frames(header.PixelData, number_of_frames=1)))
