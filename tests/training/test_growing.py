"""The schedule of progressive growing, and a run that grows."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_loop import KilledError, Recorder, Run, images, run, weights

from mammogan.config import StyleGANConfig, TrainConfig
from mammogan.errors import TrainingError
from mammogan.models.stylegan import Growth
from mammogan.training import loop
from mammogan.training.growing import check_growth, growth_after, shrunk
from small_networks import SMALL_STYLEGAN

__all__ = ["images", "run"]  # fixtures


def growing(grow_from: int | None, grow_kimg: float) -> StyleGANConfig:
    return SMALL_STYLEGAN.model_copy(update={"grow_from": grow_from, "grow_kimg": grow_kimg})


# 8 to 32 px by 1000 images: 8 rests, fades to 16, 16 rests, fades to 32, and is full grown at 4000.
@pytest.mark.parametrize(
    ("n_images", "growth"),
    [
        (0, Growth(8, 1.0)),
        (999, Growth(8, 1.0)),
        (1000, Growth(16, 0.0)),
        (1250, Growth(16, 0.25)),
        (2000, Growth(16, 1.0)),
        (3500, Growth(32, 0.5)),
        (4000, None),
        (9999, None),
    ],
)
def test_each_size_rests_and_then_fades_into_the_next(n_images: int, growth: Growth | None) -> None:
    assert growth_after(n_images, growing(8, 1.0), 32) == growth


def test_networks_that_do_not_grow_are_full_size_from_the_start() -> None:
    assert growth_after(0, growing(None, 1.0), 32) is None
    check_growth(growing(None, 1.0), 32, 1)


def test_a_start_at_the_full_size_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"grow_from is 32 px and the images have 32 px; start smaller"):
        check_growth(growing(32, 1.0), 32, 10**6)


def test_a_run_that_ends_before_it_is_full_grown_is_refused() -> None:
    message = r"from 8 to 32 px takes 4 thousand images and the run has 4; lower .*grow_kimg \(to less than 1\)"
    with pytest.raises(TrainingError, match=message):
        check_growth(growing(8, 1.0), 32, 4000)
    check_growth(growing(8, 1.0), 32, 4001)


def test_real_images_fade_as_the_networks_do() -> None:
    real = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).repeat_interleave(2, 0).repeat_interleave(2, 1).view(1, 1, 4, 4)
    assert shrunk(real, None) is real
    assert torch.equal(shrunk(real, Growth(2, 1.0))[0, 0], torch.tensor([[1.0, 3.0], [5.0, 7.0]]))
    assert torch.equal(shrunk(real, Growth(2, 0.0))[0, 0], torch.full((2, 2), 4.0))
    assert torch.equal(shrunk(real, Growth(2, 0.5))[0, 0], torch.tensor([[2.5, 3.5], [4.5, 5.5]]))


@pytest.mark.parametrize("kill_at", [12, 28])
def test_a_run_that_grows_resumes_to_the_bit(
    small_config: Callable[..., TrainConfig],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
) -> None:
    config = small_config("stylegan", epochs=3, stylegan=growing(8, 0.01))  # full grown after 40 of 48 images
    sizes, take = [], loop.take_step

    def step(*args: object) -> dict[str, torch.Tensor]:
        sizes.append(args[2].shape[-1])  # type: ignore[attr-defined]
        return take(*args)  # type: ignore[arg-type]

    unbroken, first, second = Recorder(), Recorder(kill_at), Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", step)
        expected = run(config, tmp_path / "unbroken", unbroken)
    assert sizes == [8, 8, 8, 16, 16, 16, 16, 16, 32, 32, 32, 32]
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed", first)
    result = run(config, tmp_path / "killed", second)
    assert all(torch.equal(a, b) for a, b in zip(weights(result), weights(expected), strict=True))
    assert {**first.losses(), **second.losses()} == unbroken.losses()
    assert result.G(torch.zeros(1, 8)).shape == (1, 1, 32, 32)


def test_a_generator_that_is_not_full_grown_is_never_the_best(
    small_config: Callable[..., TrainConfig], run: Run, tmp_path: Path
) -> None:
    to = Recorder()
    to.verdicts = {n: loop.Verdict(score=float(n)) for n in (0, 16, 32, 48)}  # the first would win
    result = run(small_config("stylegan", epochs=3, stylegan=growing(8, 0.01)), tmp_path, to)
    assert result.best_images == 48
