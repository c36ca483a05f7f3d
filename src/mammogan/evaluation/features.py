"""Features of grey images by the FID network, under one named protocol, and their cache.

The protocol of clean-fid (Parmar et al. 2022, arXiv:2104.11222): Pillow's antialiased bicubic to 299 px in
floating point, clipped to [0, 255], never rounded.
"""

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import filelock
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mammogan import atomic
from mammogan.data.tiles import Greys, to_8_bits
from mammogan.errors import EvaluationError
from mammogan.evaluation.inception import FEATURES, INPUT_PX, Inception

PROTOCOL = "inception20151205_pil-bicubic299"


def features(net: Inception, images: Greys, batch_size: int, progress: Callable[[int], None]) -> NDArray[np.float32]:
    """Pool3 features of grey images: uint8 or uint16 (N, H, W) or (N, 1, H, W), 0 black -> float32 (N, 2048).

    16 bits are rounded to 8 first, so that the protocol is the same for both depths.

    Computed in full precision on the device that holds `net`, whatever autocast or TF32 setting surrounds the
    call; the batch size moves a feature by rounding only. `progress` receives the number of images done after
    each batch.

    Raises:
        EvaluationError: images of another type or shape, or none. Images in [0, 1] or [-1, 1] would give
            numbers that look like small FIDs and are not.
    """
    images = _checked(images)
    device = next(net.parameters()).device
    found = np.empty((len(images), FEATURES), dtype=np.float32)
    with (
        torch.inference_mode(),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext(),
    ):
        for start in range(0, len(images), batch_size):
            batch = np.stack([_resized(to_8_bits(image)) for image in images[start : start + batch_size]])
            grey = torch.from_numpy(batch).to(device)[:, None]  # (n, 1, 299, 299), [0, 255]
            rgb = ((grey - 128) / 128).expand(-1, 3, -1, -1)
            found[start : start + len(batch)] = net(rgb.contiguous(memory_format=torch.channels_last)).cpu()
            progress(start + len(batch))
    return found


def cached_features(
    net_sha: str, images_sha: str, compute: Callable[[], NDArray[np.float32]], cache: Path
) -> NDArray[np.float32]:
    """What `compute` returns, kept in the folder `cache` under the hash of network, pixels and protocol.

    Several processes may ask at once: one computes, the others wait for its result. A damaged entry is
    computed again.

    Args:
        net_sha: sha256 of the file of the network.
        images_sha: sha256 of the pixels, in their order.
        compute: gives the features, float32 (N, 2048).
        cache: folder, made when missing.
    """
    key = hashlib.sha256(f"{PROTOCOL}\n{net_sha}\n{images_sha}".encode()).hexdigest()
    path = cache / f"features-{key}.npy"
    cache.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        kept = _read(path)
        if kept is None:
            kept = compute()
            with atomic.new_file(path) as partial, partial.open("wb") as file:
                np.save(file, kept)
    return kept


def _checked(images: Greys) -> Greys:
    if images.dtype not in (np.uint8, np.uint16):
        raise EvaluationError(
            f"images for the FID network are {images.dtype}, expected grey levels, uint8 or uint16; convert"
            " them with data.tiles.to_pixels, since other ranges give numbers that are not FIDs"
        )
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != 3 or 0 in images.shape:
        raise EvaluationError(
            f"images for the FID network have shape {images.shape}, expected (N, H, W) or (N, 1, H, W) with N > 0"
        )
    return images


def _resized(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (H, W) -> float32 (299, 299) in [0, 255]."""
    grey = Image.fromarray(image.astype(np.float32))  # mode "F": bicubic without rounding to grey levels
    resized = np.asarray(grey.resize((INPUT_PX, INPUT_PX), Image.Resampling.BICUBIC))
    return resized.clip(0, 255)  # bicubic overshoots at edges


def _read(path: Path) -> NDArray[np.float32] | None:
    try:
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return kept if kept.ndim == 2 and kept.shape[1] == FEATURES and np.isfinite(kept).all() else None
