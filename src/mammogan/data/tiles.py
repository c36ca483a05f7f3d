"""Prepared tiles: read from disk as a memory map, and to and from the range that the models work in."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammogan.errors import DataError

Split = Literal["train", "holdout"]
SPLITS: tuple[Split, Split] = ("train", "holdout")
Greys = NDArray[np.uint8] | NDArray[np.uint16]

_AGAIN = "run `mammogan prepare` again"
_BLOCK = 64  # tiles read at a time for the hash
_KINDS = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles uint8 or uint16 (N, H, W), as far as possible not yet in memory, with a row of the manifest for each."""

    images: Greys
    manifest: pd.DataFrame

    def __len__(self) -> int:
        return len(self.images)

    @property
    def resolution(self) -> int:
        """Width and height of a tile in pixels."""
        return int(self.images.shape[-1])

    @property
    def patients(self) -> list[int]:
        """The patient of each tile, numbered in the order of appearance: the same under any id key."""
        codes: list[int] = pd.factorize(self.manifest["patient_id"])[0].tolist()
        return codes

    def labels(self, name: str) -> list[str]:
        """The value of a label of the manifest for each tile; empty where it is not known."""
        values: list[str] = self.manifest[name].tolist()
        return values

    @cached_property
    def sha256(self) -> str:
        """Hash of depth, shape and pixels: the same only for the same images in the same order."""
        return sha256_of(self.images)


def read_tiles(prepared: Path, split: Split) -> Tiles:
    """One split of the folder that `prepare` wrote; the images stay on disk as a memory map.

    Raises:
        DataError: the folder is missing or half, its files contradict each other, or a patient is in both
            splits.
    """
    arrays = {name: _read_array(prepared / f"{name}.npy") for name in SPLITS}
    train, holdout = (f"{images.dtype} of {images.shape[-1]} px" for images in arrays.values())
    if train != holdout:
        raise DataError(f"{prepared} is half: train.npy holds {train}, holdout.npy {holdout}; {_AGAIN}")
    manifest = read_manifest(prepared)
    for name, images in arrays.items():
        rows = int((manifest["split"] == name).sum())
        if len(images) != rows:
            raise DataError(f"{prepared} is half: {name}.npy has {len(images)} images, manifest.csv {rows}; {_AGAIN}")
    return Tiles(arrays[split], manifest[manifest["split"] == split].reset_index(drop=True))


def read_manifest(prepared: Path) -> pd.DataFrame:
    """The manifest, every column as text, the rows of each split in the order of its array.

    Raises:
        DataError: it is missing or damaged, or a patient is in both splits.
    """
    table = prepared / "manifest.csv"
    if not table.is_file():
        raise DataError(f"{table} is missing; run `mammogan prepare` first")
    try:
        manifest = pd.read_csv(table, dtype=str, keep_default_na=False)
        patients = {name: set(manifest.loc[manifest["split"] == name, "patient_id"]) for name in SPLITS}
        there = set(manifest["split"])
        in_order = all(part["index"].tolist() == [*map(str, range(len(part)))] for _, part in manifest.groupby("split"))
    except (ValueError, KeyError, OSError) as err:
        raise DataError(f"{table} is damaged ({type(err).__name__}); {_AGAIN}") from None
    if there != set(SPLITS):
        raise DataError(f"{table} has the splits {', '.join(sorted(there))}, expected train, holdout; {_AGAIN}")
    if not in_order:
        raise DataError(f"{table} is not in the order of the arrays beside it; {_AGAIN}")
    both = sorted(patients["train"] & patients["holdout"])
    if both:
        raise DataError(
            f"{table}: {len(both)} patients are in both splits ({', '.join(both[:3])}), "
            f"so scores would flatter; {_AGAIN}"
        )
    return manifest


def sha256_of(images: Greys) -> str:
    """Hash of depth, shape and pixels of images (N, ...), which may be memory-mapped: they are read in blocks."""
    digest = hashlib.sha256(f"{images.dtype} {images.shape}".encode())
    for start in range(0, len(images), _BLOCK):
        digest.update(images[start : start + _BLOCK].tobytes())
    return digest.hexdigest()


def to_model(images: Tensor) -> Tensor:
    """Grey levels (N, 1, H, W), uint8 in [0, 255] or of any other integer type in [0, 65535] -> float32 in [-1, 1]."""
    return images.float() / (127.5 if images.dtype == torch.uint8 else 32767.5) - 1


def to_pixels(images: Tensor, bits: int) -> Tensor:
    """Float (N, 1, H, W), about [-1, 1] -> uint8, or uint16 for 16 bits: rounded, what lies outside clipped."""
    if bits == 8:
        return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return ((images.float() + 1) * 32767.5).round().clamp(0, 65535).to(torch.uint16)


def depth(images: Greys) -> int:
    """The bits of a grey level: 8 for uint8, 16 for uint16."""
    return _KINDS[images.dtype]


def to_8_bits(images: Greys) -> NDArray[np.uint8]:
    """Grey levels of any shape in 8 bits, the nearest ones: what is scored and shown, real and synthetic alike."""
    if images.dtype == np.uint8:
        return images.astype(np.uint8, copy=False)
    return ((images.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _read_array(array: Path) -> Greys:
    if not array.is_file():
        raise DataError(f"{array} is missing; run `mammogan prepare` first")
    try:
        images: Greys = np.lib.format.open_memmap(array, mode="r")
    except (ValueError, OSError, EOFError) as err:
        raise DataError(f"{array} is damaged ({type(err).__name__}); {_AGAIN}") from None
    if images.dtype not in _KINDS or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise DataError(
            f"{array} holds {images.dtype} {images.shape}, expected square uint8 or uint16 tiles (N, S, S); {_AGAIN}"
        )
    return images
