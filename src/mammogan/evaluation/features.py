"""Features of grey images by a network, under one named protocol, and their cache.

The protocol of the FID network is clean-fid's (Parmar et al. 2022, arXiv:2104.11222): Pillow's antialiased bicubic to
299 px in floating point, clipped to [0, 255], never rounded. Other networks (extractors.py) differ in their size and
normalisation alone.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mammogan import atomic
from mammogan.data.tiles import Greys, to_8_bits
from mammogan.errors import EvaluationError
from mammogan.evaluation.inception import INPUT_PX

PROTOCOL = "inception20151205_pil-bicubic299"

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Feeding:
    """How a network wants its images: (grey level - mean) / sd of each of three equal channels, at `px`."""

    px: int
    mean: tuple[float, float, float]  # grey levels, of 255
    sd: tuple[float, float, float]


FID_FEEDING = Feeding(INPUT_PX, (128, 128, 128), (128, 128, 128))


def features(
    net: nn.Module, images: Greys, batch_size: int, progress: Progress, feeding: Feeding = FID_FEEDING
) -> NDArray[np.float32]:
    """Features of grey images: uint8 or uint16 (N, H, W) or (N, 1, H, W), 0 black -> float32 (N, d).

    16 bits are rounded to 8 first, so that the protocol is the same for both depths.

    Computed in full precision on the device that holds `net`, whatever autocast or TF32 setting surrounds the
    call; the batch size moves a feature by rounding only. `progress` receives the number of images done after
    each batch.

    Raises:
        EvaluationError: images of another type or shape, or none. Images in [0, 1] or [-1, 1] would give
            numbers that look like small FIDs and are not.
    """
    images = checked(images)
    device = next(net.parameters()).device
    mean, sd = (torch.tensor(x, device=device).view(1, 3, 1, 1) for x in (feeding.mean, feeding.sd))
    found = []
    with (
        torch.inference_mode(),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext(),
    ):
        for start in range(0, len(images), batch_size):
            batch = np.stack([_resized(to_8_bits(image), feeding.px) for image in images[start : start + batch_size]])
            grey = torch.from_numpy(batch).to(device)[:, None]  # (n, 1, px, px), [0, 255]
            rgb = (grey - mean) / sd  # (n, 3, px, px)
            found.append(net(rgb.contiguous(memory_format=torch.channels_last)).cpu().numpy())
            progress(start + len(batch))
    return np.concatenate(found)


def cached_features(
    net_sha: str,
    images_sha: str,
    compute: Callable[[], NDArray[np.float32]],
    cache: Path,
    protocol: str = PROTOCOL,
) -> NDArray[np.float32]:
    """What `compute` returns, kept in the folder `cache` under the hash of network, pixels and protocol.

    Several processes may ask at once: one computes, the others wait for its result. An entry whose checksum is
    wrong, or that is half, is computed again.

    Args:
        net_sha: sha256 of the file of the network.
        images_sha: sha256 of the pixels, in their order (data.tiles.sha256_of): of real images and of drawn ones.
        compute: gives the features, float32 (N, d).
        cache: folder, made when missing.
        protocol: all else that decides a feature, as the extractor names it.
    """
    key = hashlib.sha256(f"{protocol}\n{net_sha}\n{images_sha}".encode()).hexdigest()
    path = cache / f"features-{key}.npz"
    cache.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        kept = _read(path)
        if kept is None:
            kept = compute()
            with atomic.new_file(path) as partial, partial.open("wb") as file:
                np.savez(file, features=kept)  # a zip file, so with a checksum
    return kept


def checked(images: Greys) -> Greys:
    """Grey levels (N, H, W), of uint8 or uint16 (N, H, W) or (N, 1, H, W).

    Raises:
        EvaluationError: images of another type or shape, of mixed sizes, or none.
    """
    if images.dtype == object:
        raise EvaluationError("images for a network have mixed sizes, expected one array (N, H, W); bring them to one")
    if images.dtype not in (np.uint8, np.uint16):
        raise EvaluationError(
            f"images for a network are {images.dtype}, expected grey levels, uint8 or uint16; convert"
            " them with data.tiles.to_pixels, since other ranges give numbers that are not FIDs"
        )
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != 3 or 0 in images.shape:
        raise EvaluationError(
            f"images for a network have shape {images.shape}, expected (N, H, W) or (N, 1, H, W) with N > 0"
        )
    return images


def _resized(image: NDArray[np.uint8], px: int) -> NDArray[np.float32]:
    """uint8 (H, W) -> float32 (px, px) in [0, 255]."""
    grey = Image.fromarray(image.astype(np.float32))  # mode "F": bicubic without rounding to grey levels
    resized = np.asarray(grey.resize((px, px), Image.Resampling.BICUBIC))
    return resized.clip(0, 255)  # bicubic overshoots at edges


def _read(path: Path) -> NDArray[np.float32] | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            kept: NDArray[np.float32] = archive["features"]
    except (FileNotFoundError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    return kept if kept.ndim == 2 and np.isfinite(kept).all() else None
