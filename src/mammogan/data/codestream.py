"""Size, depth and resolution levels out of the head of a JPEG, JPEG-LS or JPEG 2000 codestream."""

from dataclasses import dataclass
from struct import unpack_from

_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ, ISO/IEC 15444-1 A.4.1 and A.5.1
_COD, _SOT = 0xFF52, 0xFF90
# SOF0 to SOF15 without DHT (C4), JPG (C8), DAC (CC), ISO/IEC 10918-1 table B.1; SOF55 of JPEG-LS
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True)
class Codestream:
    """What the head of a codestream claims; `levels` is the number of times its sides can be halved."""

    height: int
    width: int
    components: int
    bits: int
    signed: bool = False
    levels: int = 0


def read_jpeg(data: bytes) -> Codestream:
    """The frame header of a JPEG or JPEG-LS codestream (ISO/IEC 10918-1 B.2.2).

    Raises:
        ValueError, struct.error: there is none.
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("no start of image")
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            raise ValueError("no marker")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _FRAMES:
            bits, height, width, components = unpack_from(">BHHB", data, at + 4)
            return Codestream(height, width, components, bits)
        at += 2 if marker in _STANDALONE else 2 + max(2, unpack_from(">H", data, at + 2)[0])
    raise ValueError("no frame header")


def read_jpeg2000(data: bytes) -> Codestream:
    """The main header of a JPEG 2000 codestream, bare or in a JP2 file (ISO/IEC 15444-1 A.5.1, A.6.1).

    `levels` is 0 where the image does not start at the origin of its grid, for its reduced sizes then differ.

    Raises:
        ValueError, struct.error: there is none.
    """
    at = data.index(_START_OF_CODESTREAM) + 2
    right, bottom, left, top = unpack_from(">4I", data, at + 6)
    (components,) = unpack_from(">H", data, at + 38)
    depth = data[at + 40]
    levels = None
    while levels is None:
        at += 2 + max(2, unpack_from(">H", data, at + 2)[0])
        (marker,) = unpack_from(">H", data, at)
        if marker == _COD:
            levels = data[at + 9]
        elif marker == _SOT:
            raise ValueError("no coding style")
    if left or top:
        levels = 0
    return Codestream(bottom - top, right - left, components, (depth & 0x7F) + 1, bool(depth & 0x80), min(levels, 32))
