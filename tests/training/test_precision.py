"""The choice of device and number format."""

from collections.abc import Callable

import pytest
import torch

from mammogan.config import TrainConfig
from mammogan.errors import TrainingError
from mammogan.training import precision
from mammogan.training.precision import choose_device, choose_precision

MakeConfig = Callable[..., TrainConfig]


def test_a_format_that_is_asked_for_is_taken(small_config: MakeConfig) -> None:
    assert choose_precision(small_config("dcgan", precision="bf16")) == "bf16"
    assert choose_precision(small_config("dcgan", precision="fp32")) == "fp32"


@pytest.mark.parametrize(("times", "choice"), [((1.0, 0.5), "bf16"), ((1.0, 12.0), "fp32"), ((1.0, 0.99), "fp32")])
def test_auto_takes_bf16_only_where_it_pays(
    small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, times: tuple[float, float], choice: str
) -> None:
    monkeypatch.setattr(precision, "time_formats", lambda: times)
    assert choose_precision(small_config("dcgan", precision="auto")) == choice


@pytest.mark.parametrize(("native", "choice"), [(True, "bf16"), (False, "fp16")])
def test_cuda_that_only_emulates_bf16_computes_in_fp16(
    small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, native: bool, choice: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert choose_precision(small_config("dcgan", precision="auto", device="cuda")) == choice


def test_both_formats_can_be_timed_here() -> None:
    assert all(seconds > 0 for seconds in precision.time_formats())


def test_cuda_without_a_device_is_refused(small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        TrainingError, match=r"train\.device is cuda, but torch sees no such device; set it to auto or cpu"
    ):
        choose_device(small_config("dcgan", device="cuda"))
    assert choose_device(small_config("dcgan", device="auto")) == torch.device("cpu")
