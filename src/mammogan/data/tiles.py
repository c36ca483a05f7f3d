"""Prepared tiles: read from disk as a memory map, and to and from the range that the models work in."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammogan.errors import DataError

Split = Literal["train", "holdout"]

_AGAIN = "run `mammogan prepare` again"
_BLOCK = 64  # tiles read at a time for the hash


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles uint8 (N, H, W), as far as possible not yet in memory, with a row of the manifest for each."""

    images: NDArray[np.uint8]
    manifest: pd.DataFrame

    def __len__(self) -> int:
        return len(self.images)

    @property
    def resolution(self) -> int:
        """Width and height of a tile in pixels."""
        return int(self.images.shape[-1])

    def split(self, name: Split) -> "Tiles":
        """The tiles of one split, in order: a view, not a copy, since `prepare` writes a split in one piece.

        Raises:
            DataError: there is no such split.
        """
        rows = np.flatnonzero((self.manifest["split"] == name).to_numpy())
        if len(rows) == 0:
            there = ", ".join(sorted(set(self.manifest["split"])))
            raise DataError(f"the prepared tiles have no split '{name}', only: {there}; {_AGAIN}")
        manifest = self.manifest.iloc[rows].reset_index(drop=True)
        first, last = int(rows[0]), int(rows[-1])
        in_one_piece = last - first + 1 == len(rows)
        return Tiles(self.images[first : last + 1] if in_one_piece else self.images[rows], manifest)

    @cached_property
    def sha256(self) -> str:
        """Hash of shape and pixels: the same only for the same images in the same order."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        for start in range(0, len(self.images), _BLOCK):
            digest.update(self.images[start : start + _BLOCK].tobytes())
        return digest.hexdigest()


def read_tiles(prepared: Path) -> Tiles:
    """Open the folder that `prepare` wrote; the images stay on disk as a memory map.

    Raises:
        DataError: the folder is missing or half, its files contradict each other, or a patient is in both
            splits.
    """
    array, table = prepared / "images.npy", prepared / "manifest.csv"
    for path in (array, table):
        if not path.is_file():
            raise DataError(f"{path} is missing; run `mammogan prepare` first")
    try:
        images = np.load(array, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as err:
        raise DataError(f"{array} is damaged ({type(err).__name__}); {_AGAIN}") from None
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise DataError(f"{array} holds {images.dtype} {images.shape}, expected square uint8 tiles (N, S, S); {_AGAIN}")
    manifest = _read_manifest(table)
    if len(manifest) != len(images):
        raise DataError(f"{prepared} is half: {len(images)} images and {len(manifest)} manifest rows; {_AGAIN}")
    return Tiles(images, manifest)


def _read_manifest(table: Path) -> pd.DataFrame:
    """The manifest as text, except: index and crop_* int, scale float, flipped bool."""
    try:
        manifest = pd.read_csv(table, dtype=str, keep_default_na=False)
        numbers: dict[str, Any] = {name: int for name in manifest.columns if name.startswith("crop_")}
        manifest = manifest.astype({"index": int, "scale": float, **numbers})
        manifest["flipped"] = manifest["flipped"] == "true"
        patients: dict[str, set[str]] = {
            name: set(manifest.loc[manifest["split"] == name, "patient_id"]) for name in set(manifest["split"])
        }
    except (ValueError, KeyError, OSError) as err:
        raise DataError(f"{table} is damaged ({type(err).__name__}); {_AGAIN}") from None
    if not set(patients) <= {"train", "holdout"}:
        raise DataError(f"{table} has the splits {', '.join(sorted(patients))}, expected train, holdout; {_AGAIN}")
    if manifest["index"].tolist() != list(range(len(manifest))):
        raise DataError(f"{table} is not in the order of images.npy; {_AGAIN}")
    both = sorted(patients.get("train", set()) & patients.get("holdout", set()))
    if both:
        raise DataError(
            f"{table}: {len(both)} patients are in both splits ({', '.join(both[:3])}), "
            f"so scores would flatter; {_AGAIN}"
        )
    return manifest


def to_model(images: Tensor) -> Tensor:
    """uint8 (N, 1, H, W) in [0, 255] -> float32, same shape, in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Float (N, 1, H, W), about [-1, 1] -> uint8, same shape: rounded, what lies outside clipped."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
