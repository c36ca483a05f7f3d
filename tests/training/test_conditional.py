"""Networks that learn from a label too."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_loop import N_IMAGES, N_SHOWN, KilledError, Recorder, images, weights

from mammogan.config import TrainConfig
from mammogan.errors import TrainingError
from mammogan.training import loop
from mammogan.training.loop import Data, TrainResult, classes_of, train

__all__ = ["images"]  # a fixture
LABELS = ["benign", "malignant", "benign"] * (N_IMAGES // 3)


@pytest.fixture
def conditional(train_config: TrainConfig) -> TrainConfig:
    return train_config.model_copy(update={"condition": "cancer"})


def learn(config: TrainConfig, images: NDArray[np.uint8], labels: list[str], folder: Path, to: Recorder) -> TrainResult:
    return train(
        config,
        Data(images, "discs", labels),
        folder=folder,
        log=to.log,
        snapshot=to.snapshot,
        event=to.event,
        progress=to.progress,
    )


def test_classes_are_the_sorted_values_with_their_shares(conditional: TrainConfig) -> None:
    classes, numbers = classes_of(conditional, ["b", "a", "b", "b"])
    assert classes is not None
    assert (classes.label, classes.values, classes.shares) == ("cancer", ("a", "b"), (0.25, 0.75))
    assert numbers is not None
    assert numbers.tolist() == [1, 0, 1, 1]


def test_without_a_condition_labels_are_left_aside(train_config: TrainConfig) -> None:
    assert classes_of(train_config, ["a", "b"]) == (None, None)


def test_gaps_in_the_labels_are_refused(conditional: TrainConfig) -> None:
    with pytest.raises(TrainingError, match=r"2 of 3 training images have no cancer; fill the gaps"):
        classes_of(conditional, ["", "a", ""])
    with pytest.raises(TrainingError, match=r"training images have no cancer"):
        classes_of(conditional, None)


def test_one_value_alone_is_refused(conditional: TrainConfig) -> None:
    with pytest.raises(TrainingError, match=r"all training images have cancer a: there is nothing to tell apart"):
        classes_of(conditional, ["a", "a"])


def test_a_conditional_run_resumes_to_the_bit(
    conditional: TrainConfig, images: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, first, second = Recorder(), Recorder(12), Recorder()
    expected = learn(conditional, images, LABELS, tmp_path / "unbroken", unbroken)
    assert expected.n_images == N_SHOWN
    assert expected.G.classes is not None
    assert expected.G.classes.values == ("benign", "malignant")
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    with pytest.raises(KilledError):
        learn(conditional, images, LABELS, tmp_path / "killed", first)
    result = learn(conditional, images, LABELS, tmp_path / "killed", second)
    assert second.steps[0] == 12
    assert all(torch.equal(a, b) for a, b in zip(weights(result), weights(expected), strict=True))
    assert {**first.losses(), **second.losses()} == unbroken.losses()


def test_other_labels_are_another_run(
    conditional: TrainConfig, images: NDArray[np.uint8], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = Recorder(), Recorder()
    learn(conditional, images, LABELS, tmp_path, one)
    learn(conditional, images, LABELS[1:] + LABELS[:1], tmp_path, other)
    assert "other data" in caplog.text
    assert one.losses()[4] != other.losses()[4]
