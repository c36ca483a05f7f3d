"""A batch of images as one picture."""

import numpy as np
from PIL import Image
from torch import Tensor


def save_image(images: Tensor, path: str, normalize: bool) -> None:
    assert normalize, "the script asks for nothing else"
    grid = np.concatenate([*images.permute(0, 2, 3, 1).float().numpy()], 1)
    grid = (grid - grid.min()) / max(np.ptp(grid), 1e-5) * 255
    Image.fromarray(grid.astype(np.uint8)).save(path)
