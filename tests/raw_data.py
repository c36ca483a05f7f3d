"""Raw data of the simplest kind: half discs that stand for breasts, and their table."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mammogan.config import PrepareConfig

KEY = b"k" * 32


def config(**changes: Any) -> PrepareConfig:
    settings = {
        "source": "auto",
        "columns": None,
        "laterality": "L",
        "resolution": 32,
        "bits": 8,
        "pectoral": "keep",
        "decoding": "reduced",
        "holdout_fraction": 0.25,
        "max_rejected": 0.5,
        "expected_images": None,
        "workers": 2,
        "seed": 0,
    }
    return PrepareConfig(**{**settings, **changes})


def half_disk(side: str, grey: int, radius: int = 40) -> Image.Image:
    y, x = np.ogrid[:100, :60]
    image = np.where((y - 50) ** 2 + x**2 <= radius**2, grey, 2).astype(np.uint8)
    return Image.fromarray(image if side == "L" else image[:, ::-1])


def write_row(root: Path, row: str) -> None:
    with (root / "labels.csv").open("a", encoding="utf-8") as file:
        file.write(row + "\n")
