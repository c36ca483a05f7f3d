"""A full-size DICOM mammogram to a tile of 512 px: mammogan against the way of most notebooks, on one core.

The usual way is pydicom's pixel_array, apply_voi_lut in float64, scikit-image's threshold, labels and resize, and a
PNG; both sides cut the breast's box and end in a square tile on the disk. Ours decodes JPEG 2000 at the coarsest level
at which the breast still has more pixels than the tile. Both run in turn in one process on one thread;
the clock is CPU time. The last line is one JSON object; `ratio` is that of JPEG 2000 decoded at a reduced size.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_voi_lut
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

import mammogan
from mammogan.data.cut import coarse_level, cut_file, fine_level, grey_levels, locate, to_integers
from mammogan.data.dicom import DicomRaw
from mammogan.data.phantom import draw
from mammogan.data.pixels import open_raw

RESOLUTION = 512
SYNTAXES = {
    "jpeg2000": JPEG2000Lossless,
    "jpeg_lossless": JPEGLosslessSV1,
    "rle": RLELossless,
    "uncompressed": ExplicitVRLittleEndian,
}
Tile = NDArray[np.uint8]

filters: Any = import_module("skimage.filters")  # untyped
measure: Any = import_module("skimage.measure")
transform: Any = import_module("skimage.transform")


def film(height: int) -> NDArray[np.uint16]:
    """A phantom of `height` px with quantum noise in 12 bits, dense tissue dark as in MONOCHROME1."""
    drawn, breast = draw(1, "L", "CC", "C", "mass", min(height, 2048))
    size = (round(0.7 * height), height)
    level = np.asarray(Image.fromarray(drawn.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)) / 255
    inside = np.asarray(Image.fromarray(breast).resize(size, Image.Resampling.NEAREST))
    noise = np.random.default_rng(0).normal(0, 8, level.shape) * inside  # levels of 4,096
    bright = np.where(inside, 600 + 2600 * level + noise, 0)
    stored: NDArray[np.uint16] = (4095 - np.rint(np.clip(bright, 0, 4095))).astype(np.uint16)
    return stored


def write(path: Path, stored: NDArray[np.uint16], syntax: UID) -> None:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    header.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    header.SOPInstanceUID = generate_uid()
    header.Rows, header.Columns = stored.shape
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelPaddingValue = 1, "MONOCHROME1", 4095
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = 2400, 2600, "LINEAR"
    if syntax == JPEG2000Lossless:
        coded = imagecodecs.jpeg2k_encode(stored, codecformat="j2k", bitspersample=12, reversible=True, resolutions=6)
        header.PixelData = encapsulate([bytes(coded)])
    elif syntax == JPEGLosslessSV1:
        coded = imagecodecs.jpeg8_encode(stored, lossless=True, predictor=1, bitspersample=12)
        header.PixelData = encapsulate([bytes(coded)])
    else:
        header.PixelData = stored.tobytes()
        if syntax == RLELossless:
            header.compress(RLELossless, generate_instance_uid=False)
    header["PixelData"].VR = "OW" if syntax == ExplicitVRLittleEndian else "OB"
    header.save_as(path, enforce_file_format=True)


def usual(path: Path, out: Path) -> Tile:
    """The notebook way: everything at full size, in float64."""
    header = pydicom.dcmread(path)
    image = apply_voi_lut(header.pixel_array, header).astype(float)
    image = (image - image.min()) / (image.max() - image.min())
    if header.PhotometricInterpretation == "MONOCHROME1":
        image = 1 - image
    regions = measure.regionprops(measure.label(image > filters.threshold_otsu(image)))
    top, left, bottom, right = max(regions, key=lambda region: region.area).bbox
    crop = image[top:bottom, left:right]
    side = max(crop.shape)
    square = np.pad(crop, (((side - crop.shape[0]) // 2, -(-(side - crop.shape[0]) // 2)), (0, side - crop.shape[1])))
    tile: Tile = (transform.resize(square, (RESOLUTION, RESOLUTION), anti_aliasing=True) * 255).astype(np.uint8)
    Image.fromarray(tile).save(out)
    return tile


def ours(path: Path, out: Path, decoding: str = "reduced") -> Tile:
    """The tile as `mammogan prepare` cuts it."""
    tile = cut_file(path, "L", "CC", resolution=RESOLUTION, bits=8, pectoral="keep", decoding=decoding).image
    np.save(out, tile)
    return tile.astype(np.uint8, copy=False)


def by_stages(path: Path, out: Path) -> dict[str, float]:
    """CPU seconds of each stage of `ours`, whose steps it takes one by one."""
    times = [time.process_time()]
    raw = open_raw(path)
    times.append(time.process_time())
    glance = coarse_level(raw)
    pixels = raw.read(glance)
    times.append(time.process_time())
    place = locate(pixels.image, "L", glance, (raw.height, raw.width))
    times.append(time.process_time())
    reduction = fine_level(raw, place.box, RESOLUTION)
    if reduction != glance:
        pixels = raw.read(reduction)
    times.append(time.process_time())
    tile = to_integers(grey_levels(pixels.image, reduction, place, RESOLUTION), 8)
    np.save(out, tile)
    times.append(time.process_time())
    names = ("open", "first decoding", "find the breast", "second decoding", "tile and save")
    return {name: end - start for name, start, end in zip(names, times, times[1:], strict=False)}


def windowing(path: Path) -> tuple[float, float]:
    """CPU seconds of decoding alone and of decoding and windowing, at full size."""
    raw = open_raw(path)
    assert isinstance(raw, DicomRaw)
    return cpu_seconds(lambda: raw.stored()), cpu_seconds(lambda: raw.read())


def cpu_seconds(step: Callable[[], object]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def psnr(tile: Tile, reference: Tile) -> float:
    error = np.mean((tile.astype(float) - reference) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def compare(path: Path, folder: Path, rounds: int) -> dict[str, float | list[float]]:
    """Both sides in turn on one file: medians, and the quartiles of the paired ratios."""
    raw = open_raw(path)
    sides: dict[str, Callable[[], object]] = {
        "usual": lambda: usual(path, folder / "tile.png"),
        "ours": lambda: ours(path, folder / "tile.npy"),
    }
    if raw.reductions[1:]:
        sides["ours_full"] = lambda: ours(path, folder / "tile.npy", "full")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for step in sides.values():
        step()
    for _ in range(rounds):
        for name, step in sides.items():
            seconds[name].append(cpu_seconds(step))
    result: dict[str, float | list[float]] = {}
    for name in sides:
        result[f"{name}_images_per_cpu_s"] = round(1 / statistics.median(seconds[name]), 2)
        if name == "usual":
            continue
        ratios = [old / new for old, new in zip(seconds["usual"], seconds[name], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        kind = "ratio" if name == "ours" else "ratio_full"
        result[kind] = round(statistics.median(ratios), 2)
        result[f"{kind}_quartiles"] = [round(quartiles[0], 2), round(quartiles[2], 2)]
    if raw.reductions[1:]:
        full = ours(path, folder / "tile.npy", "full")
        result["psnr_of_reduced_db"] = round(psnr(ours(path, folder / "tile.npy"), full), 1)
    return result


def stages(path: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each stage of our side."""
    clocks = [by_stages(path, folder / "tile.npy") for _ in range(rounds)]
    result = {name: round(1000 * statistics.median(clock[name] for clock in clocks), 1) for name in clocks[0]}
    pairs = [windowing(path) for _ in range(rounds)]
    result["full decode alone"] = round(1000 * statistics.median(decode for decode, _ in pairs), 1)
    result["full decode and window"] = round(1000 * statistics.median(both for _, both in pairs), 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--height", type=int, default=3000, metavar="PX", help="of the phantom; 0.7 of it wide")
    parser.add_argument("--file", type=Path, action="append", default=[], metavar="DICOM", help="real files as well")
    parser.add_argument("--rounds", type=int, default=11, metavar="N")
    parser.add_argument("--quick", action="store_true", help="three rounds, within a minute")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds

    results: dict[str, dict[str, float | list[float]]] = {}
    spent: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stored = film(options.height)
        files = {kind: folder / f"{kind}.dcm" for kind in SYNTAXES}
        for kind, path in files.items():
            write(path, stored, SYNTAXES[kind])
        files |= {path.stem: path for path in options.file}
        for kind, path in files.items():
            results[kind] = compare(path, folder, rounds)
            spent[kind] = stages(path, folder, rounds)
            print(f"{kind:14s} {results[kind]}\n{'':14s} ms: {spent[kind]}", file=sys.stderr)

    for kind, result in results.items():
        print(
            f"{kind:14s} usual {result['usual_images_per_cpu_s']:6.2f}, ours {result['ours_images_per_cpu_s']:6.2f} "
            f"images per CPU second, ratio {result['ratio']:5.2f} (quartiles {result['ratio_quartiles']})"
        )
    line = json.dumps(
        {
            "bench": "prepare_dicom",
            "ratio": results["jpeg2000"]["ratio"],
            "ratio_quartiles": results["jpeg2000"]["ratio_quartiles"],
            "rounds": rounds,
            "size_px": list(stored.shape),
            "resolution": RESOLUTION,
            "syntaxes": results,
            "stages_ms": spent,
            "threads": 1,
            "imagecodecs": version("imagecodecs"),
            "pillow": version("pillow"),
            "pydicom": version("pydicom"),
            "scikit_image": version("scikit-image"),
            "mammogan": mammogan.__version__,
        }
    )
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8", newline="\n")
    print(line)


if __name__ == "__main__":
    main()
