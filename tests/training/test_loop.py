"""The training loop: what it calls when, what it refuses, and resuming to the bit."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from mammogan.config import TrainConfig
from mammogan.errors import TrainingError
from mammogan.models import Generator
from mammogan.training import loop
from mammogan.training.loop import Data, TrainResult, total_steps, train
from mammogan.training.transfer import freeze
from mammogan.training.watchdog import Verdict
from small_networks import SMALL_STYLEGAN

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
        self.events: list[tuple[int, str]] = []
        self.verdicts: dict[int, Verdict] = {}

    def log(self, metrics: dict[str, float], n_images: int) -> None:
        self.lines[n_images] = metrics

    def snapshot(self, G: Generator, n_images: int) -> Verdict:
        assert not G.training
        self.snapshots.append(n_images)
        return self.verdicts.get(n_images, Verdict())

    def event(self, sentence: str, n_images: int) -> None:
        self.events.append((n_images, sentence))

    def progress(self, n_images: int, losses: Mapping[str, float]) -> None:
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
        return train(
            config,
            Data(images, hashlib.sha256(images.tobytes()).hexdigest()),
            folder=folder,
            log=to.log,
            snapshot=to.snapshot,
            event=to.event,
            progress=to.progress,
        )

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


def test_sixteen_bits_train_as_eight_do_and_make_a_generator_of_sixteen(
    train_config: TrainConfig, images: NDArray[np.uint8], run: Run, tmp_path: Path
) -> None:
    eight, sixteen = Recorder(), Recorder()
    assert run(train_config, tmp_path / "8", eight).G.bits == 8
    result = train(
        train_config,
        Data(images.astype(np.uint16) * 257, "16"),  # the same brightness
        folder=tmp_path / "16",
        log=sixteen.log,
        snapshot=sixteen.snapshot,
        event=sixteen.event,
        progress=sixteen.progress,
    )
    assert result.G.bits == 16
    assert sixteen.losses()[4] == pytest.approx(eight.losses()[4], rel=1e-4)


def test_every_metric_is_logged_by_name(train_config: TrainConfig, run: Run, tmp_path: Path) -> None:
    to = Recorder()
    run(train_config, tmp_path, to)
    always = {"loss/G", "loss/D", "logits/real", "logits/fake", "signs/real", "images_per_s"}
    assert set(to.lines) == set(range(4, N_SHOWN + 1, 4))
    for n, line in to.lines.items():
        penalised = train_config.model == "stylegan" and (n // 4 - 1) % train_config.stylegan.r1_every == 0
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

    def dies_at_16(G: Generator, n_images: int) -> Verdict:
        if n_images == 16:
            raise KilledError
        return Verdict()

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


def test_settings_of_the_other_model_are_no_other_configuration(
    small_config: MakeConfig, run: Run, tmp_path: Path
) -> None:
    config, again = small_config("dcgan"), Recorder()
    run(config, tmp_path, Recorder())
    run(config.model_copy(update={"stylegan": config.stylegan.model_copy(update={"w_dim": 4})}), tmp_path, again)
    assert again.steps == []


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
        torch.cat(
            [loop._batch(numbered, loop.batch_rows(config, 3 * epoch + k, N_IMAGES))[:, 0, 0, 0] for k in range(3)]
        )
        for epoch in range(2)
    ]
    assert epochs[0].dtype == torch.uint8  # a quarter of the bytes on the way to the device
    shown = [epoch.tolist() for epoch in epochs]
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


def test_the_order_of_an_epoch_is_drawn_once(
    small_config: MakeConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, draw = [], np.random.default_rng

    def counted(seed: list[int]) -> np.random.Generator:
        drawn.append(seed)
        return draw(seed)

    monkeypatch.setattr(np.random, "default_rng", counted)
    run(small_config("dcgan", epochs=3, seed=77), tmp_path, Recorder())
    assert drawn == [[77, 0], [77, 1], [77, 2]]


class CountWaits(TorchDispatchMode):
    """Counts the numbers that are fetched from tensors one by one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device_number_by_number(
    train_config: TrainConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "gflop_per_image", lambda *_: 0.0)  # no part of a step
    with CountWaits() as waits:
        run(train_config, tmp_path, Recorder())
    assert waits.count == 0


def test_memory_that_an_earlier_run_held_is_not_counted(small_config: MakeConfig, run: Run, tmp_path: Path) -> None:
    before = psutil.Process().memory_info().rss / 2**20
    np.ones(2**25)  # 256 MiB, given back at once
    assert run(small_config("dcgan"), tmp_path, Recorder()).peak_memory_mb < before + 200


def test_memory_that_an_evaluation_held_is_not_counted(
    small_config: MakeConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak, to = {"mb": 7000.0}, Recorder()  # as CUDA keeps it, from an earlier run on
    monkeypatch.setattr(loop, "reset_memory", lambda _: peak.update(mb=10.0))
    monkeypatch.setattr(loop, "memory_mb", lambda _: peak["mb"])

    def costly(*_: object) -> Verdict:
        peak.update(mb=5000.0)
        return Verdict()

    monkeypatch.setattr(to, "snapshot", costly)
    assert run(small_config("dcgan"), tmp_path, to).peak_memory_mb == 10


def test_the_peak_of_memory_survives_a_kill(
    small_config: MakeConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    readings = iter([100.0, 900.0, 300.0])
    monkeypatch.setattr(loop, "memory_mb", lambda _: next(readings))
    with pytest.raises(KilledError):
        run(small_config("dcgan"), tmp_path, Recorder(12))
    monkeypatch.setattr(loop, "memory_mb", lambda _: 500.0)
    assert run(small_config("dcgan"), tmp_path, Recorder()).peak_memory_mb == 900


def test_the_number_of_steps_is_whole_batches_times_epochs(small_config: MakeConfig, run: Run, tmp_path: Path) -> None:
    config = small_config("dcgan", batch_size=4, epochs=2)
    assert total_steps(config, N_IMAGES) == 8
    assert total_steps(config, 4) == 2
    to = Recorder()
    run(config, tmp_path, to)
    assert len(to.steps) == 8


def test_operations_that_leak_when_every_image_is_changed_are_warned_of(
    small_config: MakeConfig, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    augmented = {"mode": "diffaugment", "operations": ["translate", "mirror"], "target": 0.6, "every": 4, "kimg": 0.1}
    run(small_config("dcgan", epochs=1, augment=augmented), tmp_path / "1", Recorder())
    assert "diffaugment changes every image: mirror shows as many images from either side" in caplog.text
    caplog.clear()
    run(small_config("dcgan", epochs=1, augment=augmented | {"mode": "ada"}), tmp_path / "2", Recorder())
    run(small_config("dcgan", epochs=1, augment=augmented | {"operations": ["cutout"]}), tmp_path / "3", Recorder())
    assert "diffaugment" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stylegan": SMALL_STYLEGAN.model_copy(update={"grow_from": 64})},
            "grow_from is 64 px and the images have 32",
        ),
        ({"batch_size": 64}, "batch_size 64 is larger than the 18"),
        ({"condition": "view"}, "have no view"),
        ({"freeze_d": 9}, r"train\.freeze_d is 9"),
        ({"device": "mps"}, r"train\.device is mps"),
    ],
)
def test_what_a_run_would_refuse_is_refused_beforehand(
    small_config: MakeConfig,
    images: NDArray[np.uint8],
    changes: dict[str, object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    config = small_config("stylegan", init_from="x", **changes)
    with pytest.raises(TrainingError, match=message):
        loop.insist(config, Data(images, "discs"), lambda nets: freeze(nets.D, config.freeze_d))


def test_a_batch_larger_than_the_data_is_refused(small_config: MakeConfig, run: Run, tmp_path: Path) -> None:
    message = (
        r"batch_size 64 is larger than the 18 training images; set train\.batch_size "
        r"\(in a study: study\.factors\.dcgan\.batch_size\) to at most 18"
    )
    with pytest.raises(TrainingError, match=message):
        total_steps(small_config("dcgan", batch_size=64), N_IMAGES)
    with pytest.raises(TrainingError, match=message):
        run(small_config("dcgan", batch_size=64), tmp_path, Recorder())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_device_without_enough_memory_is_told_with_what_to_lower(
    train_config: TrainConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop, "take_step", full)
    model, widths = train_config.model, getattr(train_config, train_config.model)
    message = (
        rf"too little memory for batch_size 4 and {model} with base_channels {widths.base_channels} and max_channels "
        rf"{widths.max_channels} at 32 px; lower train\.batch_size or the widths in train\.{model}"
    )
    with pytest.raises(TrainingError, match=message):
        run(train_config, tmp_path, Recorder())


def nan_at(n_images: int) -> Callable[..., dict[str, torch.Tensor]]:
    """The step, with a loss that is no number in the one that begins after so many images."""
    take = loop.take_step

    def step(*args: Any) -> dict[str, torch.Tensor]:
        seen = take(*args)
        return seen | {"loss/G": seen["loss/G"] * float("nan")} if args[-1].n_images == n_images else seen

    return step


def test_a_loss_that_is_not_finite_ends_the_run_at_once(
    small_config: MakeConfig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "take_step", nan_at(8))
    to = Recorder()
    with pytest.raises(TrainingError, match=r"loss/G is nan after 12 images; lower train\.lr"):
        run(small_config("dcgan"), tmp_path, to)
    assert to.steps == [4, 8]
