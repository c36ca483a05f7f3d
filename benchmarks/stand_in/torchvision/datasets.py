"""A folder of images, as pairs of image and number of its folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset


class ImageFolder(Dataset[tuple[Any, int]]):
    """One folder a class, in the order of their names."""

    def __init__(self, root: str, transform: Callable[[Image.Image], Any]) -> None:
        folders = sorted(path for path in Path(root).iterdir() if path.is_dir())
        self.files = [(path, k) for k, folder in enumerate(folders) for path in sorted(folder.iterdir())]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, number = self.files[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), number
