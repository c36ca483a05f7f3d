"""From a Pillow image to a normalised tensor."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class Compose:
    """Steps one after another."""

    def __init__(self, steps: Sequence[Callable[[Any], Any]]) -> None:
        self.steps = steps

    def __call__(self, image: Any) -> Any:
        for step in self.steps:
            image = step(image)
        return image


class Resize:
    """The shorter side becomes `size`; an image of that size is left as it is."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        share = self.size / min(image.size)
        return (
            image
            if share == 1
            else image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BILINEAR)
        )


class CenterCrop:
    """The middle square of `size`."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        left, top = (image.width - self.size) // 2, (image.height - self.size) // 2
        return (
            image
            if image.size == (self.size, self.size)
            else image.crop((left, top, left + self.size, top + self.size))
        )


class ToTensor:
    """To float32 (3, H, W) in [0, 1]."""

    def __call__(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div_(255)


class Normalize:
    """Less the mean, over the standard deviation, for each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (mean, std))

    def __call__(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std
