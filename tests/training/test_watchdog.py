"""What the watchdog finds, and what the loop does about it, once."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_growing import growing
from test_loop import N_SHOWN, Recorder, Run, images, nan_at, run, weights

from mammogan.config import TrainConfig
from mammogan.errors import TrainingError
from mammogan.training import checkpoint, loop
from mammogan.training.watchdog import Verdict, not_finite, overfitted, young

__all__ = ["images", "run"]  # fixtures
BLACK = Verdict(complaint="all images are black")


def test_the_first_loss_that_is_no_number_is_named() -> None:
    assert not_finite({"loss/D": 1.0, "loss/G": -2.0}) is None
    assert not_finite({"loss/D": 1.0, "loss/G": float("nan")}) == "loss/G is nan"
    assert not_finite({"loss/D": float("-inf"), "loss/G": float("nan")}) == "loss/D is -inf"


def test_d_has_overfitted_above_the_limit_only() -> None:
    assert overfitted(0.9, 0.9) is None
    assert "mean sign 0.910, limit 0.9" in str(overfitted(0.91, 0.9))


def watched(make: Callable[..., TrainConfig], act: str, **changes: object) -> TrainConfig:
    return make("dcgan", watchdog={"act": act, "overfit": 1.0}, **changes)


def test_a_complaint_is_reported_once(small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path) -> None:
    to = Recorder()
    to.verdicts = {16: BLACK, 32: BLACK}
    result = run(watched(small_config, "report"), tmp_path, to)
    assert to.events == [(16, "all images are black")]
    assert result.events == ("after 16 images: all images are black",)
    assert result.n_images == N_SHOWN


def test_a_complaint_ends_the_run_where_that_is_asked_for(
    small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path
) -> None:
    to = Recorder()
    to.verdicts = {16: BLACK}
    with pytest.raises(TrainingError, match=r"all images are black after 16 images; lower train\.lr"):
        run(watched(small_config, "fail"), tmp_path, to)
    assert to.steps[-1] == 16


def test_an_overfitted_d_is_reported(
    small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = loop.take_step
    monkeypatch.setattr(loop, "take_step", lambda *args: take(*args) | {"signs/real": torch.tensor(0.95)})
    to = Recorder()
    run(small_config("dcgan", watchdog={"act": "report", "overfit": 0.9}), tmp_path, to)
    assert [n for n, _ in to.events] == [16]
    assert "mean sign 0.950, limit 0.9" in to.events[0][1]


@pytest.mark.parametrize("wrong", ["complaint", "nan"])
def test_a_run_is_rolled_back_to_its_best_state_with_half_the_learning_rate(
    small_config: Callable[..., TrainConfig],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
) -> None:
    seen: list[tuple[float, float]] = []
    states: dict[int, list[torch.Tensor]] = {}
    to, take = Recorder(), loop.take_step
    to.verdicts = {16: Verdict(score=1.0), 32: Verdict(score=2.0)}
    if wrong == "complaint":
        to.verdicts[32] = Verdict(2.0, "all images are black")
    else:
        take = nan_at(28)

    def step(nets: loop.Networks, *rest: object) -> dict[str, torch.Tensor]:
        n_images = rest[-1].n_images  # type: ignore[attr-defined]
        states[n_images] = [weight.detach().clone() for weight in nets.G.parameters()]
        seen.append((nets.adam_g.param_groups[0]["lr"], nets.adam_d.param_groups[0]["lr"]))
        return take(nets, *rest)

    monkeypatch.setattr(loop, "take_step", step)
    result = run(watched(small_config, "roll_back", epochs=3), tmp_path, to)
    assert [n for n, _ in to.events] == [32]
    assert "weights are those after 16 images again, learning rates are halved" in to.events[0][1]
    assert seen[:8] == [(0.001, 0.001)] * 8
    assert seen[8:] == [(0.0005, 0.0005)] * 4
    assert all(torch.equal(a, b) for a, b in zip(states[32], states[16], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[28], states[16], strict=True))
    assert result.n_images == 48


def test_while_growing_a_run_is_rolled_back_to_its_latest_sound_state(
    small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path
) -> None:
    to = Recorder()
    to.verdicts = {16: Verdict(score=1.0), 32: BLACK}
    watch = {"act": "roll_back", "overfit": 1.0}
    run(small_config("stylegan", epochs=3, stylegan=growing(8, 0.01), watchdog=watch), tmp_path, to)
    assert [n for n, _ in to.events] == [32]
    assert "weights are those after 16 images again" in to.events[0][1]


def test_a_young_run_is_not_judged(small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path) -> None:
    assert young(3999, 10**6)
    assert not young(4000, 10**6)
    assert not young(50, 100)
    to = Recorder()
    to.verdicts = dict.fromkeys((8, 16, 24), BLACK)
    run(watched(small_config, "report", evaluate_kimg=0.008), tmp_path, to)
    assert [n for n, _ in to.events] == [16]


def test_a_second_nan_ends_the_run(
    small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = nan_at(8)
    monkeypatch.setattr(loop, "take_step", take)
    monkeypatch.setattr(loop, "take_step", nan_at(20))  # wraps the one before
    to = Recorder()
    with pytest.raises(TrainingError, match="loss/G is nan after 24 images"):
        run(watched(small_config, "roll_back"), tmp_path, to)
    assert [n for n, _ in to.events] == [12]


def test_the_best_generator_is_that_of_the_lowest_score(train_config: TrainConfig, run: Run, tmp_path: Path) -> None:
    to = Recorder()
    to.verdicts = {0: Verdict(3.0), 16: Verdict(1.0), 32: Verdict(2.0)}
    result = run(train_config, tmp_path, to)
    assert result.best_images == 16
    best, last = result.best.state_dict().values(), weights(result)
    assert any(not torch.equal(a, b) for a, b in zip(best, last, strict=True))
    assert not result.best.training


def best_weights(to: Recorder) -> dict[int, list[torch.Tensor]]:
    """Lets `to` remember the weights of each snapshot."""
    seen, show = {}, to.snapshot

    def snapshot(G: torch.nn.Module, n_images: int) -> Verdict:
        seen[n_images] = [weight.clone() for weight in G.state_dict().values()]
        return show(G, n_images)  # type: ignore[arg-type]

    to.snapshot = snapshot  # type: ignore[assignment]
    return seen


def same(result: loop.TrainResult, expected: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(result.best.state_dict().values(), expected, strict=True))


def test_a_best_state_that_could_not_be_written_is_not_called_the_best(
    small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, save = Recorder(), checkpoint.save_best
    to.verdicts = {16: Verdict(2.0), 32: Verdict(1.0), 48: Verdict(3.0)}
    seen = best_weights(to)
    monkeypatch.setattr(checkpoint, "save_best", lambda *args: args[1] != 32 and save(*args))
    result = run(small_config("dcgan", epochs=3), tmp_path, to)
    assert result.best_images == 16
    assert same(result, seen[16])


def test_a_best_state_of_another_moment_is_not_taken_for_it(
    small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path
) -> None:
    to = Recorder()
    to.verdicts = {16: Verdict(1.0), 32: Verdict(2.0)}
    run(small_config("dcgan"), tmp_path, to)
    kept = checkpoint._read(tmp_path / "best.state")
    assert kept is not None
    kept["state"]["progress"]["n_images"] = 8
    checkpoint.save_best(tmp_path, 8, kept["state"], kept["identity"])
    result = run(small_config("dcgan"), tmp_path, to)
    assert result.best is result.G
    assert result.best_images == N_SHOWN


def test_without_scores_the_last_generator_is_the_best(train_config: TrainConfig, run: Run, tmp_path: Path) -> None:
    result = run(train_config, tmp_path, Recorder())
    assert result.best_images == N_SHOWN
    assert result.best is result.G
