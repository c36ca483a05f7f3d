"""Whole processes: dcgan/main.py of pytorch/examples on a folder of PNGs, against our training loop on the same images.

main.py needs torchvision. Where that is not installed, a stand-in of a page takes its place (stand_in/torchvision): an
image folder, the four transforms and save_image, on Pillow. The peer trains three-channel images, since it cannot do
otherwise; its textbook fails on black backgrounds all the same, so only time is compared here.
"""

import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mammogan.config import TrainConfig
from mammogan.training.loop import Data, train
from mammogan.training.watchdog import Verdict
from measuring import Ratio

N_IMAGES, SIZE_PX = 384, 64
SHORT, LONG = 1, 3  # epochs; their difference leaves start and end out
STAND_IN = Path(__file__).parent / "stand_in"


def against(peer: Path, config: TrainConfig, pairs: int) -> dict[str, Any]:
    """Ratio of the CPU seconds of an epoch, and what else the record of it needs."""
    standing_in = importlib.util.find_spec("torchvision") is None
    seconds: dict[str, list[float]] = {"peer": [], "ours": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = np.random.default_rng(0).integers(0, 256, (N_IMAGES, SIZE_PX, SIZE_PX), np.uint8)
        np.save(folder / "images.npy", images)
        (folder / "png" / "all").mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / "png" / "all" / f"{number:04d}.png")
        for _ in range(pairs):
            commands: dict[str, Callable[[int], list[str]]] = {
                "peer": lambda epochs: _peer_command(peer, folder, config, epochs),
                "ours": lambda epochs: _our_command(folder, config, epochs),
            }
            for side, command in commands.items():
                short, long = (_process_seconds(command(epochs), standing_in) for epochs in (SHORT, LONG))
                seconds[side].append((long - short) / (LONG - SHORT))
    ratio = Ratio(seconds["peer"], seconds["ours"])
    per_second = {side: round(N_IMAGES / sorted(times)[len(times) // 2], 1) for side, times in seconds.items()}
    print(f"pytorch/examples dcgan/main.py, end to end: {ratio}; images per CPU second {per_second}")
    return {
        "name": "pytorch/examples dcgan/main.py",
        "ratio": ratio.median,
        "ratio_quartiles": ratio.quartiles,
        "pairs": pairs,
        "images_per_cpu_s": per_second,
        "torchvision": "stand-in" if standing_in else "installed",
    }


def _peer_command(peer: Path, folder: Path, config: TrainConfig, epochs: int) -> list[str]:
    options = {"dataset": "folder", "dataroot": folder / "png", "outf": folder / "out", "imageSize": SIZE_PX}
    options |= {"batchSize": config.batch_size, "workers": 2, "niter": epochs, "manualSeed": 0}
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, str(peer.resolve() / "dcgan" / "main.py"), *flags]


def _our_command(folder: Path, config: TrainConfig, epochs: int) -> list[str]:
    section = config.model_copy(update={"epochs": epochs, "kimg": None, "evaluate_kimg": 1000.0})
    return [sys.executable, __file__, str(folder / "images.npy"), section.model_dump_json()]


def _process_seconds(command: Sequence[str], standing_in: bool) -> float:
    """CPU seconds of a process with all its children, on one thread each."""
    paths = [str(STAND_IN)] if standing_in else []
    paths += [path for path in [os.environ.get("PYTHONPATH")] if path]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(images: str, section: str) -> None:
    """Our side: the training loop on the images of a file, without evaluations."""
    torch.set_num_threads(1)
    config = TrainConfig.model_validate(json.loads(section))
    with tempfile.TemporaryDirectory() as folder:
        train(
            config,
            Data(np.load(images, mmap_mode="r"), sha256="noise"),
            folder=Path(folder),
            log=lambda *_: None,
            snapshot=lambda *_: Verdict(),
            event=lambda *_: None,
            progress=lambda *_: None,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
