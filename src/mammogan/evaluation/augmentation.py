"""Classical augmentation of mammograms: what a detector's training would use if there were no synthetic images.

Small shifts, turns and changes of size, as of a breast laid anew on the detector, and of contrast and brightness, as
of another exposure. Nothing is mirrored: all breasts have been turned to one side, and up is up.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_SHIFT = 0.06  # of the side, at most, each way
_TURN = math.radians(10)  # at most, each way
_SIZE = 0.1  # at most, each way
_CONTRAST = 0.2  # at most, each way
_BRIGHTNESS = 0.1  # at most, each way, in the image range [-1, 1]
_BLACK = -1.0


def augmented(images: Tensor, chance: np.random.Generator) -> Tensor:
    """Each image changed at random: float (N, 1, H, W) in [-1, 1] -> the same shape and range; black stays black."""
    n = len(images)

    def draw(most: float, *shape: int) -> Tensor:
        return torch.from_numpy(chance.uniform(-most, most, (n, *shape)).astype(np.float32)).to(images.device)

    angle, size, shift = draw(_TURN), 1 + draw(_SIZE), draw(2 * _SHIFT, 2)
    cos, sin = angle.cos() * size, angle.sin() * size
    matrix = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(n, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = F.grid_sample(images - _BLACK, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    contrast, brightness = 1 + draw(_CONTRAST, 1, 1, 1), draw(_BRIGHTNESS, 1, 1, 1)
    changed = moved * contrast + torch.where(moved > 0, brightness, 0.0)
    return (changed + _BLACK).clamp(-1, 1)
