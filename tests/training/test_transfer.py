"""Starting from the weights of another run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mammogan.config import ModelName, TrainConfig
from mammogan.errors import DataError, TrainingError
from mammogan.models import Classes, store
from mammogan.training.steps import Moment, Networks, new_networks, take_step
from mammogan.training.transfer import DISCRIMINATOR, GENERATOR, freeze, read_weights, start_from
from small_networks import SMALL_DCGAN, SMALL_STYLEGAN

CPU = torch.device("cpu")


def saved(config: TrainConfig, resolution: int, folder: Path, classes: Classes | None = None) -> Networks:
    nets = new_networks(config, resolution, CPU, "fp32", classes)
    store.save(folder / GENERATOR, nets.G, config, resolution)
    store.save_discriminator(folder / DISCRIMINATOR, nets.D, config, resolution, classes)
    return nets


def test_a_run_of_the_same_size_starts_with_all_weights(train_config: TrainConfig, tmp_path: Path) -> None:
    earlier = saved(train_config, 32, tmp_path)
    later = new_networks(train_config.model_copy(update={"seed": 77}), 32, CPU, "fp32")
    start_from(read_weights(tmp_path), later, train_config)
    for one, other in ((earlier.G, later.G), (earlier.D, later.D)):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )


@pytest.mark.parametrize(("before", "after"), [(32, 64), (64, 32)])
def test_weights_of_the_common_sizes_are_taken_when_the_resolution_grows_or_shrinks(
    small_config: Callable[..., TrainConfig], tmp_path: Path, before: int, after: int
) -> None:
    capped = {"base_channels": 16, "max_channels": 16}
    for model, common, new in (("stylegan", "blocks.16", "to_grey"), ("dcgan", "blocks.16", f"blocks.{after}")):
        config = small_config(model, dcgan=SMALL_DCGAN.model_copy(update=capped))
        earlier = saved(config, before, tmp_path)
        later = new_networks(config.model_copy(update={"seed": 77}), after, CPU, "fp32")
        start_from(read_weights(tmp_path), later, config)
        old, state = earlier.G.state_dict(), later.G.state_dict()
        taken = [name for name in state if name.startswith(common)]
        assert taken
        assert all(torch.equal(state[name], old[name]) for name in taken)
        assert any(name.startswith(new) for name in state)
        take_step(later, config, torch.zeros(4, 1, after, after), None, Moment(0, 0, 0.1, 0.0))


def test_other_widths_are_refused_with_those_that_fit(small_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    saved(small_config("stylegan"), 32, tmp_path)
    wider = small_config("stylegan", stylegan=SMALL_STYLEGAN.model_copy(update={"max_channels": 16}))
    nets = new_networks(wider, 32, CPU, "fp32")
    with pytest.raises(TrainingError, match=r"does not fit.*max_channels 8 at 32 px: set the same in train\.stylegan"):
        start_from(read_weights(tmp_path), nets, wider)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("stylegan", {"mapping_layers": 3}, r"train\.stylegan\.mapping_layers 2 \(here 3\); set the same"),
        ("stylegan", {"z_dim": 16}, r"train\.stylegan\.z_dim 8 \(here 16\)"),
        ("stylegan", {"normalisation": "demodulation"}, r"normalisation adain \(here demodulation\)"),
        ("dcgan", {"minibatch_std": True}, r"train\.dcgan\.minibatch_std false \(here true\)"),
        ("dcgan", {"spectral_norm": True, "z_dim": 4}, r"z_dim 8 \(here 4\), train\.dcgan\.spectral_norm false"),
    ],
)
@pytest.mark.parametrize("resolution", [32, 64])
def test_other_options_are_refused_by_name_at_any_resolution(
    small_config: Callable[..., TrainConfig],
    tmp_path: Path,
    model: ModelName,
    change: dict[str, object],
    message: str,
    resolution: int,
) -> None:
    config = small_config(model)
    saved(config, 32, tmp_path)
    other = small_config(model, **{model: config.architecture.model_copy(update=change)})
    with pytest.raises(TrainingError, match=message):
        start_from(read_weights(tmp_path), new_networks(other, resolution, CPU, "fp32"), other)


VIEW = Classes("view", ("CC", "MLO"), (0.5, 0.5))
CANCER = Classes("cancer", ("0", "1"), (0.9, 0.1))
DENSITY = Classes("density", ("A", "B", "C"), (0.2, 0.5, 0.3))


@pytest.mark.parametrize(("before", "after"), [(None, VIEW), (VIEW, None)])
def test_a_label_on_one_side_only_is_refused(
    train_config: TrainConfig, tmp_path: Path, before: Classes | None, after: Classes | None
) -> None:
    saved(train_config, 32, tmp_path, before)
    nets = new_networks(train_config, 32, CPU, "fp32", after)
    with pytest.raises(TrainingError, match=r"train\.condition \w+ \(here \w+\)"):
        start_from(read_weights(tmp_path), nets, train_config)


@pytest.mark.parametrize("after", [VIEW, CANCER, DENSITY])
def test_the_embedding_of_another_label_stays_fresh_and_that_of_the_same_is_taken(
    train_config: TrainConfig, tmp_path: Path, after: Classes
) -> None:
    config = train_config.model_copy(update={"condition": "view"})
    earlier = saved(config, 32, tmp_path, VIEW)
    config = config.model_copy(update={"condition": after.label, "seed": 77})
    later = new_networks(config, 32, CPU, "fp32", after)
    fresh = {name: weight.clone() for name, weight in later.G.state_dict().items()}
    start_from(read_weights(tmp_path), later, config)
    for name, weight in later.G.state_dict().items():
        of_classes = name.split(".")[0] in ("embed", "w_mean", "w_batches")
        expected = fresh[name] if of_classes and after is not VIEW else earlier.G.state_dict()[name]
        assert torch.equal(weight, expected), name
    assert torch.equal(later.D.embed.weight, earlier.D.embed.weight) == (after is VIEW)


def test_the_other_model_is_refused(small_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    saved(small_config("stylegan"), 32, tmp_path)
    config = small_config("dcgan")
    with pytest.raises(TrainingError, match=r"init_from holds a stylegan and train\.model is dcgan"):
        start_from(read_weights(tmp_path), new_networks(config, 32, CPU, "fp32"), config)


def test_a_folder_without_a_discriminator_is_refused(small_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    saved(small_config("dcgan"), 32, tmp_path)
    (tmp_path / DISCRIMINATOR).unlink()
    with pytest.raises(DataError, match=r"discriminator\.safetensors is missing"):
        read_weights(tmp_path)


def test_frozen_layers_of_d_stay_and_the_others_learn(train_config: TrainConfig) -> None:
    nets = new_networks(train_config, 32, CPU, "fp32")
    freeze(nets.D, 1)
    before = {name: weight.detach().clone() for name, weight in nets.D.named_parameters()}
    for number in range(2):
        take_step(nets, train_config, torch.randn(4, 1, 32, 32), None, Moment(number, 4 * number, 0.1, 0.0))
    stayed = {name for name, weight in nets.D.named_parameters() if torch.equal(weight, before[name])}
    assert {name for name in before if ".32." in name} <= stayed
    assert not any(".8." in name for name in stayed if name.endswith("weight"))


def test_more_frozen_layers_than_d_has_are_refused(train_config: TrainConfig) -> None:
    with pytest.raises(TrainingError, match=r"train\.freeze_d is 9 and D has layers of \d sizes"):
        freeze(new_networks(train_config, 32, CPU, "fp32").D, 9)
