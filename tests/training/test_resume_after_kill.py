"""A run that is killed outright at any step, and started again, is the unbroken run to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mammogan.config import TrainConfig
from mammogan.training import loop
from mammogan.training.loop import Data, TrainResult, train
from mammogan.training.watchdog import Verdict

ADA = {"mode": "ada", "operations": ["translate", "brightness", "cutout"], "target": 0.6, "every": 2, "kimg": 0.05}
N_SHOWN = 48
Step = Callable[[int], None]


def run(config: TrainConfig, folder: Path, lines: Path, after: Step = lambda _: None) -> TrainResult:
    """Train on discs; every step's losses go to the file `lines` at once, then `after` gets the images shown."""
    row, column = np.mgrid[:32, :32]
    radii = np.linspace(8, 15, 18)[:, None, None]
    images = np.where(np.hypot(row - 16, column) < radii, 180, 0).astype(np.uint8)

    def progress(n_images: int, losses: object) -> None:
        with lines.open("a") as file:
            file.write(json.dumps([n_images, losses]) + "\n")
        after(n_images)

    def log(metrics: dict[str, float], n_images: int) -> None:
        with lines.with_suffix(".log").open("a") as file:
            metrics = {name: value for name, value in metrics.items() if name != "images_per_s"}
            file.write(json.dumps([n_images, metrics]) + "\n")

    return train(
        config,
        Data(images, "discs"),
        folder=folder,
        log=log,
        snapshot=lambda G, n_images: Verdict(score=float(n_images)),
        event=lambda sentence, n_images: None,
        progress=progress,
    )


def by_step(lines: Path) -> dict[int, dict[str, float]]:
    """The last line of each step."""
    return dict(json.loads(line) for line in lines.read_text().splitlines())


def states(result: TrainResult) -> dict[str, dict[str, torch.Tensor]]:
    return {"G": result.G.state_dict(), "raw": result.raw.state_dict(), "D": result.D.state_dict()}


def assert_equal(
    found: dict[str, dict[str, torch.Tensor]], expected: dict[str, dict[str, torch.Tensor]], lines: Path, unbroken: Path
) -> None:
    for network, weights in expected.items():
        for name, weight in weights.items():
            assert torch.equal(found[network][name], weight), (network, name)
    assert by_step(lines) == by_step(unbroken)
    assert by_step(lines.with_suffix(".log")) == by_step(unbroken.with_suffix(".log"))


def killed_at(folder: Path, steps: list[int]) -> None:
    """Start the run of `folder`/config.json once for each of `steps`, to be killed there, and once to its end."""
    loop._SAVE_EVERY_S = 0.0
    config = TrainConfig.model_validate_json((folder / "config.json").read_text())
    for step in [*steps, 0]:
        child = os.fork()  # a process without a thread or a number drawn so far, and torch is there already
        if child == 0:
            torch.set_num_threads(1)

            def after(n_images: int, last: int = step) -> None:
                if n_images == last:
                    os.kill(os.getpid(), signal.SIGKILL)

            torch.save(states(run(config, folder / "killed", folder / "killed.jsonl", after)), folder / "killed.pt")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if step else 0)


def test_killed_at_three_random_steps_it_ends_as_if_nothing_had_happened(
    train_config: TrainConfig, tmp_path: Path
) -> None:
    config = train_config.model_copy(update={"epochs": 3, "augment": type(train_config.augment)(**ADA)})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    expected = run(config, tmp_path / "unbroken", tmp_path / "unbroken.jsonl")
    steps = sorted(random.Random(7).sample(range(8, N_SHOWN, 4), 3))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(tmp_path), json.dumps(steps)]
    subprocess.run(command, env=environment, check=True, timeout=60)

    assert any(line["augment/p"] > 0 for line in by_step(tmp_path / "unbroken.log").values())
    assert len((tmp_path / "killed.jsonl").read_text().splitlines()) == N_SHOWN // 4 + 3  # each kill cost one step
    found = torch.load(tmp_path / "killed.pt", weights_only=True)
    assert_equal(found, states(expected), tmp_path / "killed.jsonl", tmp_path / "unbroken.jsonl")


def test_stopped_by_hand_it_keeps_the_step_it_was_in_and_goes_on_to_the_bit(
    train_config: TrainConfig, tmp_path: Path
) -> None:
    config = train_config.model_copy(update={"epochs": 3, "augment": type(train_config.augment)(**ADA)})
    expected = run(config, tmp_path / "unbroken", tmp_path / "unbroken.jsonl")
    lines = tmp_path / "stopped.jsonl"

    def stop(n_images: int) -> None:
        if n_images == 20:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "stopped", lines, stop)
    assert (tmp_path / "stopped" / "000000020.pt").exists()
    assert max(by_step(lines)) == 20
    result = run(config, tmp_path / "stopped", lines)
    assert len(lines.read_text().splitlines()) == N_SHOWN // 4  # no step was taken twice
    assert_equal(states(result), states(expected), lines, tmp_path / "unbroken.jsonl")


if __name__ == "__main__":
    killed_at(Path(sys.argv[1]), json.loads(sys.argv[2]))
