"""A small checkout in a temporary folder, and the command in a process of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
SMALL = {
    "patients: 128": "patients: 20",
    "height_px: 128": "height_px: 64",
    "resolution: 64": "resolution: 32",
    "n_images: 100": "n_images: 16",
    "n_images: 64": "n_images: 5",
    "grid_side: 6": "grid_side: 3",
    "base_channels: 24": "base_channels: 4",
}
TINY_LEVELS = {
    "dcgan": "      lr: [0.001, 0.002, 0.003]\n      batch_size: [4, 8, 16]\n      epochs: [1, 2, 3]\n",
    "stylegan": "      lr: [0.001, 0.002, 0.003]\n      batch_size: [4, 8, 16]\n      epochs: [1, 2, 3]\n",
}

Command = Callable[..., subprocess.CompletedProcess[str]]


def small_checkout(folder: Path) -> Path:
    """dvc.yaml, settings/ and a params.yaml whose whole study takes seconds."""
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / "settings", folder / "settings")
    text = (ROOT / "settings" / "demo.yaml").read_text(encoding="utf-8")
    for old, new in SMALL.items():
        assert old in text, f"settings/demo.yaml no longer holds {old!r}"
        text = text.replace(old, new)
    head, _, rest = text.partition("  factors:\n")
    tail = rest[rest.index("\nconfirm:") :]
    levels = "".join(f"    {model}:\n{lines}" for model, lines in TINY_LEVELS.items())
    (folder / "params.yaml").write_text(f"{head}  factors:\n{levels}{tail}", encoding="utf-8")
    return folder


def command_in(folder: Path) -> Command:
    """A function that runs `mammogan ARGUMENTS` in `folder` and returns its exit status and output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from mammogan.cli import main; main()", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    return run
