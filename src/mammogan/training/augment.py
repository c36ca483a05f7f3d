"""Random changes of what D sees, of real and synthetic images alike; differentiable, so that G learns through them.

With few images D learns them by heart. DiffAugment (Zhao et al. 2020, arXiv:2006.10738) changes every image;
adaptive augmentation (ADA, Karras et al. 2020, arXiv:2006.06676) changes as many as D's overfitting asks for.
The operations suit one grey channel with a black background: no hue, and no mirror after all breasts were
turned to one side, unless it is asked for. Pixels that come from outside the image are black.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mammogan.config import Augmentation, AugmentConfig
from mammogan.models.generator import Noise, normal, uniform

MAX_P = 0.8  # above it G can learn the changes themselves (Karras et al. 2020, section 2.2 and appendix C)

_BLACK = -1.0
_TRANSLATION = 1 / 8  # of the side, at most (Zhao et al.)
_ROTATION = math.radians(5)  # standard deviation
_SCALE = 0.2  # standard deviation of log2 (Karras et al.)
_BRIGHTNESS = 0.2  # standard deviation in the image range [-1, 1] (Karras et al.)
_CONTRAST = 0.5  # standard deviation of log2 (Karras et al.)
_CUTOUT = 0.5  # side of the box over that of the image (both papers)
_NOISE = 0.1  # standard deviation of the standard deviation (Karras et al.)


def augment(images: Tensor, p: float, operations: Sequence[Augmentation], noise: Noise) -> Tensor:
    """Change each image by each operation with probability `p`: float32 (N, 1, H, W) in about [-1, 1] -> the same.

    Geometry comes first and in one resampling, then contrast and brightness, blur, noise and cutout, whatever the
    order of `operations`. `p` 0 gives the images themselves. Gradients reach the images, once: the resampling can't be
    differentiated twice.
    """
    if not p:
        return images
    asked = set(operations)
    images = _move(images, p, asked, noise)
    for name, operation in _PIXELS.items():
        if name in asked:
            images = operation(images, _gate(images, p, noise), noise)
    return images


def next_p(p: float, sign: float, config: AugmentConfig, n_images: int) -> float:
    """The share of changed images after `n_images` more, given the mean sign of D on real ones (r_t, eq. 1 of ADA).

    A fixed step up where D is surer of the real images than `config.target`, else down; from 0 to 1 takes
    `config.kimg` thousand images. At most MAX_P.
    """
    step = n_images / (config.kimg * 1000)
    direction = (sign > config.target) - (sign < config.target)
    return min(max(p + direction * step, 0.0), MAX_P)


def leak(config: AugmentConfig) -> str | None:
    """A sentence on the operations of `config` that leak into G where every image is changed; None where none does."""
    traces = {
        "mirror": "mirror shows as many images from either side, and so will G",
        "rotate": "rotate resamples every image",
        "scale": "scale resamples every image",
    }
    found = [trace for name, trace in traces.items() if name in config.operations]
    if config.mode != "diffaugment" or not found:
        return None
    return f"diffaugment changes every image: {', '.join(found)}; take them out of train.augment.operations, or use ada"


def _gate(images: Tensor, p: float, noise: Noise) -> Tensor:
    """1 for each image that is to change, else 0: (N, 1, 1, 1)."""
    return (uniform((len(images), 1, 1, 1), noise, images.device) < p).to(images.dtype)


def _move(images: Tensor, p: float, asked: set[Augmentation], noise: Noise) -> Tensor:
    """Mirror, scale, rotate and shift in one resampling; whole pixels, and so without loss, where only shifted."""
    n, device = len(images), images.device
    if not asked & {"mirror", "scale", "rotate", "translate"}:
        return images

    def gate() -> Tensor:
        return _gate(images, p, noise).flatten()

    columns, rows = torch.ones(2, n, device=device)  # how far a step in the new image leads in the old one
    angle = torch.zeros(n, device=device)
    shift = torch.zeros(n, 2, device=device)
    if "mirror" in asked:  # half of those chosen, so that the change can be undone (appendix C)
        columns = 1 - 2 * gate() * (uniform((n,), noise, device) < 0.5)
    if "scale" in asked:
        factor = torch.exp2(-gate() * _SCALE * normal((n,), noise, device))
        columns, rows = columns * factor, rows * factor
    if "rotate" in asked:
        angle = gate() * _ROTATION * normal((n,), noise, device)
    if "translate" in asked:
        size = torch.tensor([images.shape[3], images.shape[2]], device=device)
        most = (size * _TRANSLATION).floor()
        steps = torch.floor(uniform((n, 2), noise, device) * (2 * most + 1)) - most  # each as often
        shift = gate()[:, None] * steps * 2 / size
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([cos * columns, -sin * rows, shift[:, 0], sin * columns, cos * rows, shift[:, 1]], 1)
    grid = F.affine_grid(matrix.view(n, 2, 3), list(images.shape), align_corners=False)
    moved = F.grid_sample(images - _BLACK, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return moved + _BLACK


def _contrast(images: Tensor, gate: Tensor, noise: Noise) -> Tensor:
    factor = torch.exp2(_CONTRAST * normal((len(images), 1, 1, 1), noise, images.device))
    return (images - _BLACK) * torch.lerp(torch.ones_like(factor), factor, gate) + _BLACK  # black stays black


def _brightness(images: Tensor, gate: Tensor, noise: Noise) -> Tensor:
    return images + gate * _BRIGHTNESS * normal((len(images), 1, 1, 1), noise, images.device)


def _blur(images: Tensor, gate: Tensor, noise: Noise) -> Tensor:
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    smooth = F.conv2d(padded, torch.outer(taps, taps)[None, None])
    return torch.lerp(images, smooth, gate * uniform((len(images), 1, 1, 1), noise, images.device))


def _noise(images: Tensor, gate: Tensor, noise: Noise) -> Tensor:
    std = _NOISE * normal((len(images), 1, 1, 1), noise, images.device).abs()
    return images + gate * std * normal(images.shape, noise, images.device)


def _cutout(images: Tensor, gate: Tensor, noise: Noise) -> Tensor:
    n, _, height, width = images.shape
    centre = uniform((n, 2, 1), noise, images.device)
    rows, columns = (
        ((torch.arange(side, device=images.device) + 0.5) / side - centre[:, axis]).abs() < _CUTOUT / 2
        for axis, side in ((0, height), (1, width))
    )
    box = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.dtype)
    return images * (1 - gate * box)  # mid-grey, as in both papers


_PIXELS: Mapping[Augmentation, Callable[[Tensor, Tensor, Noise], Tensor]] = {
    "contrast": _contrast,
    "brightness": _brightness,
    "blur": _blur,
    "noise": _noise,
    "cutout": _cutout,
}
