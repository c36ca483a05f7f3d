"""The training loop: what it calls when, what it refuses, and resuming to the bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mammogan.config import TrainConfig
from mammogan.errors import TrainingError
from mammogan.models import Generator
from mammogan.training import loop
from mammogan.training.loop import TrainResult, train

N_IMAGES = 18  # four batches of 4 an epoch, two images left over
N_SHOWN = 32  # in two epochs


class KilledError(Exception):
    pass


class Recorder:
    """Remembers what the loop tells; raises KilledError once `kill_at` images have been shown."""

    def __init__(self, kill_at: int = 10**9) -> None:
        self.kill_at = kill_at
        self.lines: dict[int, dict[str, float]] = {}
        self.snapshots: list[int] = []
        self.steps: list[int] = []

    def log(self, metrics: dict[str, float], n_images: int) -> None:
        self.lines[n_images] = metrics

    def snapshot(self, G: Generator, n_images: int) -> None:
        assert not G.training
        self.snapshots.append(n_images)

    def progress(self, n_images: int) -> None:
        self.steps.append(n_images)
        if n_images >= self.kill_at:
            raise KilledError

    def losses(self) -> dict[int, dict[str, float]]:
        return {
            n: {name: value for name, value in line.items() if name != "images_per_s"} for n, line in self.lines.items()
        }


MakeConfig = Callable[..., TrainConfig]
Run = Callable[[TrainConfig, Path, Recorder], TrainResult]


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Bright half discs on black, of different sizes."""
    row, column = np.mgrid[:32, :32]
    radii = np.random.default_rng(0).uniform(8, 15, N_IMAGES)[:, None, None]
    return np.where(np.hypot(row - 16, column) < radii, 180, 0).astype(np.uint8)


@pytest.fixture
def run(images: NDArray[np.uint8]) -> Run:
    def go(config: TrainConfig, folder: Path, to: Recorder) -> TrainResult:
        return train(config, images, folder=folder, log=to.log, snapshot=to.snapshot, progress=to.progress)

    return go


def weights(result: TrainResult) -> list[torch.Tensor]:
    return list(result.G.state_dict().values())


def test_a_run_ends_after_its_epochs_with_what_it_cost(train_config: TrainConfig, run: Run, tmp_path: Path) -> None:
    to = Recorder()
    result = run(train_config, tmp_path, to)
    assert result.n_images == N_SHOWN
    assert to.steps == list(range(4, N_SHOWN + 1, 4))
    assert to.snapshots == [0, 16, 32]
    assert not result.G.training
    assert result.precision == "fp32"
    assert result.elapsed_s > 0
    assert result.images_per_s == pytest.approx(N_SHOWN / result.elapsed_s)
    assert result.peak_memory_mb > 50
    assert result.gflop_per_image > 0


def test_every_metric_is_logged_by_name(train_config: TrainConfig, run: Run, tmp_path: Path) -> None:
    to = Recorder()
    run(train_config, tmp_path, to)
    always = {"loss/G", "loss/D", "logits/real", "logits/fake", "images_per_s"}
    assert set(to.lines) == set(range(4, N_SHOWN + 1, 4))
    for n, line in to.lines.items():
        penalised = train_config.model == "stylegan" and (n // 4 - 1) % train_config.r1_every == 0
        assert set(line) == (always | {"r1"} if penalised else always)


def test_a_long_run_logs_about_fifty_means(small_config: MakeConfig, run: Run, tmp_path: Path) -> None:
    to = Recorder()
    run(small_config("dcgan", epochs=30), tmp_path, to)
    assert 50 <= len(to.lines) <= 62
    assert max(to.lines) == 30 * 16


@pytest.mark.parametrize("kill_at", [12, 16])
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(
    train_config: TrainConfig, run: Run, tmp_path: Path, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_LOGS", 3)  # means over two steps, so that one is cut by the kill
    unbroken, first, second = Recorder(), Recorder(kill_at), Recorder()
    expected = run(train_config, tmp_path / "unbroken", unbroken)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_SAVE_EVERY_S", 0.0)
        with pytest.raises(KilledError):
            run(train_config, tmp_path / "killed", first)
    torch.manual_seed(99)  # another process has other global chance
    result = run(train_config, tmp_path / "killed", second)

    assert second.steps[0] <= kill_at < N_SHOWN
    assert second.steps[0] == kill_at
    assert all(torch.equal(a, b) for a, b in zip(weights(result), weights(expected), strict=True))
    assert {**first.losses(), **second.losses()} == unbroken.losses()
    assert first.snapshots + second.snapshots == unbroken.snapshots


def test_a_finished_run_called_again_returns_at_once(train_config: TrainConfig, run: Run, tmp_path: Path) -> None:
    expected = run(train_config, tmp_path, Recorder())
    again = Recorder()
    result = run(train_config, tmp_path, again)
    assert (again.steps, again.snapshots, again.lines) == ([], [], {})
    assert all(torch.equal(a, b) for a, b in zip(weights(result), weights(expected), strict=True))
    assert result.elapsed_s == expected.elapsed_s


def test_a_run_killed_in_a_snapshot_takes_it_again_and_repeats_no_step(
    train_config: TrainConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = Recorder()

    def dies_at_16(G: Generator, n_images: int) -> None:
        if n_images == 16:
            raise KilledError

    monkeypatch.setattr(to, "snapshot", dies_at_16)
    with pytest.raises(KilledError):
        run(train_config, tmp_path, to)
    again = Recorder()
    run(train_config, tmp_path, again)
    assert again.snapshots == [16, 32]
    assert again.steps[0] == 20


def test_another_configuration_starts_afresh_and_says_so(
    train_config: TrainConfig, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(train_config, tmp_path, Recorder())
    changed = Recorder()
    run(train_config.model_copy(update={"lr": 0.002}), tmp_path, changed)
    assert changed.steps[0] == 4
    assert "training starts afresh" in caplog.text


def test_other_data_start_afresh(
    train_config: TrainConfig, run: Run, images: NDArray[np.uint8], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(train_config, tmp_path, Recorder())
    images[0, 0, 0] += 1
    changed = Recorder()
    run(train_config, tmp_path, changed)
    assert changed.steps[0] == 4
    assert "other data" in caplog.text


def test_another_seed_is_another_run(train_config: TrainConfig, run: Run, tmp_path: Path) -> None:
    one, other = Recorder(), Recorder()
    run(train_config, tmp_path / "one", one)
    run(train_config.model_copy(update={"seed": 4}), tmp_path / "other", other)
    assert one.losses()[4] != other.losses()[4]


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own(
    small_config: MakeConfig, images: NDArray[np.uint8]
) -> None:
    config = small_config("dcgan", batch_size=6)
    numbered = np.broadcast_to(np.arange(N_IMAGES, dtype=np.uint8)[:, None, None], images.shape)
    epochs = [
        np.concatenate([loop._batch(numbered, config, 3 * epoch + k)[:, 0, 0, 0].numpy() for k in range(3)])
        for epoch in range(2)
    ]
    shown = [np.round((epoch + 1) * 127.5).astype(int).tolist() for epoch in epochs]
    assert [sorted(epoch) for epoch in shown] == [list(range(N_IMAGES))] * 2
    assert shown[0] != shown[1]


def test_the_callers_random_state_is_left_alone(train_config: TrainConfig, run: Run, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run(train_config.model_copy(update={"epochs": 1}), tmp_path, Recorder())
    assert torch.equal(torch.get_rng_state(), before)


def test_bf16_trains_too_and_resumes_to_the_bit(
    train_config: TrainConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = train_config.model_copy(update={"precision": "bf16"})
    expected = run(config, tmp_path / "unbroken", Recorder())
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed", Recorder(12))
    result = run(config, tmp_path / "killed", Recorder())
    assert result.precision == "bf16"
    assert all(torch.equal(a, b) for a, b in zip(weights(result), weights(expected), strict=True))


def test_the_minimax_loss_can_be_chosen(small_config: MakeConfig, run: Run, tmp_path: Path) -> None:
    to = Recorder()
    run(small_config("dcgan", loss="minimax"), tmp_path, to)
    assert all(line["loss/G"] < 0 < line["loss/D"] for line in to.lines.values())


def test_a_batch_larger_than_the_data_is_refused(small_config: MakeConfig, run: Run, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"batch_size 64 is larger than the 18 training images; set"):
        run(small_config("dcgan", batch_size=64), tmp_path, Recorder())


def test_a_loss_that_is_not_finite_ends_the_run_at_once(
    small_config: MakeConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, calls = loop.update_generator, []

    def third_is_nan(*args: object) -> dict[str, torch.Tensor]:
        calls.append(1)
        seen = update(*args)  # type: ignore[arg-type]
        return {"loss/G": seen["loss/G"] * float("nan")} if len(calls) == 3 else seen

    monkeypatch.setattr(loop, "update_generator", third_is_nan)
    to = Recorder()
    with pytest.raises(TrainingError, match=r"loss/G is nan after 12 images; lower train\.lr"):
        run(small_config("dcgan"), tmp_path, to)
    assert to.steps == [4, 8]
