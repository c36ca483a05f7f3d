"""Two processes that share a run end as one process with the whole batch does."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mammogan.config import ModelName, TrainConfig
from mammogan.errors import TrainingError
from mammogan.training.loop import Data, check, train
from mammogan.training.parallel import ALONE, Group, processes
from mammogan.training.steps import new_networks
from mammogan.training.watchdog import Verdict

CPU = torch.device("cpu")


def work(folder: Path, name: str) -> dict[str, Any]:
    """Train by `folder`/config.json, in the group that the environment describes, and keep what came of it."""
    torch.set_num_threads(1)
    config = TrainConfig.model_validate_json((folder / "config.json").read_text())
    row, column = np.mgrid[:32, :32]
    radii = np.linspace(8, 15, 18)[:, None, None]
    images = np.where(np.hypot(row - 16, column) < radii, 180, 0).astype(np.uint8)
    lines: dict[int, dict[str, float]] = {}
    shown: list[int] = []

    def snapshot(_: torch.nn.Module, n_images: int) -> Verdict:
        shown.append(n_images)
        return Verdict(score=-float(n_images))

    with processes(CPU) as group:
        result = train(
            config,
            Data(images, "discs"),
            folder=folder / name,
            log=lambda metrics, n: lines.update({n: metrics}),
            snapshot=snapshot,
            event=lambda sentence, n: None,
            progress=lambda n, losses: None,
            group=group,
        )
    left = {
        "lines": lines,
        "shown": shown,
        "G": result.G.state_dict(),
        "raw": result.raw.state_dict(),
        "D": result.D.state_dict(),
        "n_images": result.n_images,
    }
    torch.save(left, folder / f"{name}-{group.rank}.pt")
    return left


def in_two_processes(folder: Path) -> list[dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), "two"], env=shared | {"RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in ("0", "1")
    ]
    try:
        assert [process.wait(60) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"two-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("model", ["stylegan", "dcgan"])
def test_two_processes_train_as_one_with_the_whole_batch(
    small_config: Callable[..., TrainConfig], tmp_path: Path, model: ModelName
) -> None:
    """Losses within 1e-3; weights within 2 % of what they learn in two steps, on average.

    Adam makes a whole update of rounding alone where a gradient is 0, as that of StyleGAN's first bias, before a norm.
    """
    augmented = {"mode": "ada", "operations": ["translate", "brightness"], "target": 0.6, "every": 1, "kimg": 0.05}
    config = small_config(model, batch_size=8, epochs=None, kimg=0.016, lr=1e-4, augment=augmented)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    one = work(tmp_path, "one")
    first, second = in_two_processes(tmp_path)

    assert one["n_images"] == first["n_images"] == second["n_images"] == 16
    assert second["lines"] == {}
    assert second["shown"] == []
    assert first["shown"] == one["shown"]
    assert one["lines"].keys() == first["lines"].keys()
    for n, line in one["lines"].items():
        for name in line.keys() - {"images_per_s"}:
            assert first["lines"][n][name] == pytest.approx(line[name], rel=1e-3, abs=1e-4), (n, name)
    nets = new_networks(config, 32, CPU, "fp32")
    for network, initial in (("raw", nets.G), ("D", nets.D)):
        apart = learnt = 0.0
        for name, weight in initial.named_parameters():
            apart += (first[network][name] - one[network][name]).abs().sum().item()
            learnt += (one[network][name] - weight).abs().sum().item()
        assert apart < 0.02 * learnt, network
    for network in ("G", "raw", "D"):
        assert all(torch.equal(second[network][name], weight) for name, weight in first[network].items())


def test_another_number_of_processes_goes_on_where_the_run_stood(
    small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(small_config("dcgan", batch_size=8, epochs=1).model_dump_json())
    one = work(tmp_path, "two")
    for left in in_two_processes(tmp_path):
        assert left["n_images"] == one["n_images"] == 16
        assert (left["lines"], left["shown"]) == ({}, [])
        assert all(torch.equal(left["raw"][name], weight) for name, weight in one["raw"].items())


def test_a_batch_that_cannot_be_shared_evenly_is_refused(small_config: Callable[..., TrainConfig]) -> None:
    with pytest.raises(TrainingError, match=r"3 processes cannot share a batch of 4 evenly; .* divides train\.batch"):
        check(small_config("dcgan"), 32, 8, Group(0, 3))


def test_a_share_of_one_image_has_no_spread(small_config: Callable[..., TrainConfig]) -> None:
    with pytest.raises(TrainingError, match=r"4 processes has one image of a batch of 4.*start at most 2 processes"):
        check(small_config("stylegan"), 32, 8, Group(0, 4))
    check(small_config("dcgan"), 32, 8, Group(0, 4))
    check(small_config("stylegan"), 32, 8, Group(0, 2))


def test_a_process_of_its_own_is_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes(CPU) as group:
        assert group is ALONE
        assert group.first


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2])
