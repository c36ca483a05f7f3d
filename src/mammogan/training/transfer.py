"""Start a run from the weights of another one, of the same or of another resolution.

Names of weights carry the size that they work at, so those of the sizes that both networks have are taken over, and
what only one of them has is left out or stays fresh. FreezeD (Mo et al. 2020, arXiv:2002.10964): the layers of D next
to the image keep their weights, so that a small set does not spoil what a large one has taught.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mammogan.config import TrainConfig
from mammogan.errors import TrainingError
from mammogan.models import Classes, store
from mammogan.training.steps import Networks

_SIZED = ("blocks", "to_grey", "from_grey")
_OF_CLASSES = ("embed", "w_mean", "w_batches")
_OPTIONS = {  # that decide which layers there are and how long latents and styles are, at every resolution
    "dcgan": ("z_dim", "spectral_norm", "minibatch_std"),
    "stylegan": ("z_dim", "w_dim", "mapping_layers", "normalisation"),
}
GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"


@dataclass(frozen=True)
class Weights:
    """Weights of an earlier run: the running average of its G, and its D, with the headers of `models.store`."""

    folder: Path
    header: dict[str, Any]
    G: dict[str, Tensor]
    D: dict[str, Tensor]

    @property
    def sha256(self) -> str:
        """Hash of both files."""
        both = (self.folder / name for name in (GENERATOR, DISCRIMINATOR))
        return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in both)).hexdigest()


def read_weights(folder: Path) -> Weights:
    """The weights in the folder of a run.

    Raises:
        DataError: a file is missing or damaged.
    """
    header, G = store.read(folder / GENERATOR)
    _, D = store.read(folder / DISCRIMINATOR)
    return Weights(folder, header, G, D)


def start_from(weights: Weights, nets: Networks, config: TrainConfig) -> None:
    """Put `weights` into fresh networks, and freeze the `config.freeze_d` finest sizes of D.

    Raises:
        TrainingError: they are of another model, of other widths or options, or D has fewer sizes.
    """
    if weights.header["model"] != config.model:
        raise TrainingError(
            f"train.init_from holds a {weights.header['model']} and train.model is {config.model}; set one to the other"
        )
    _check_options(weights, nets, config)
    resolution = nets.G.resolution
    fresh = [
        *_take(nets.G, weights.G, weights, config, resolution, nets.G.classes),
        *_take(nets.D, weights.D, weights, config, resolution, nets.G.classes),
    ]
    known = {name for name, _ in (*nets.G.named_parameters(), *nets.D.named_parameters())}
    if known <= set(fresh):
        raise TrainingError(f"no weight of train.init_from ({weights.folder}) fits the networks of params.yaml")
    freeze(nets.D, config.freeze_d)


def freeze(D: nn.Module, n: int) -> None:
    """Let the weights of the `n` finest sizes of D stay as they are.

    Raises:
        TrainingError: D has no more sizes than that.
    """
    sizes = sorted({size for name, _ in D.named_parameters() if (size := _size(name))}, reverse=True)
    if n >= len(sizes):
        raise TrainingError(
            f"train.freeze_d is {n} and D has layers of {len(sizes)} sizes ({', '.join(map(str, sizes))} px): at most "
            f"{len(sizes) - 1} can be frozen"
        )
    for name, weight in D.named_parameters():
        if _size(name) in sizes[:n]:
            weight.requires_grad_(False)


def _check_options(weights: Weights, nets: Networks, config: TrainConfig) -> None:
    """Refuse options that make other layers: they would leave what was learnt behind, without a word."""
    there = weights.header["architecture"] | {"condition": (weights.header["classes"] or {}).get("label")}
    here = config.architecture.model_dump() | {"condition": nets.G.classes and nets.G.classes.label}
    differ = [name for name in _OPTIONS[config.model] if there.get(name) != here[name]]
    if (there["condition"] is None) != (here["condition"] is None):
        differ.append("condition")
    if not differ:
        return
    keys = ("train.condition" if name == "condition" else f"train.{config.model}.{name}" for name in differ)
    values = (
        f"{key} {_yaml(there.get(name))} (here {_yaml(here[name])})" for key, name in zip(keys, differ, strict=True)
    )
    raise TrainingError(
        f"train.init_from does not fit: the run in {weights.folder} has {', '.join(values)}; set the same, or start "
        "from another run"
    )


def _take(
    network: nn.Module,
    tensors: dict[str, Tensor],
    weights: Weights,
    config: TrainConfig,
    resolution: int,
    classes: Classes | None,
) -> list[str]:
    """Copy what fits by name; returns the names of the weights that stay fresh.

    These alone may: those of a size that only one of the two has, the layer at the image of the smaller of two DCGANs,
    which is an inner one of the larger, and what belongs to the classes where these are others.
    """
    state = network.state_dict()
    smaller = min(resolution, weights.header["resolution"])
    edge = smaller if resolution != weights.header["resolution"] else None
    others = not _same_classes(classes, weights.header["classes"])
    common = {_place(name) for name in state} & {_place(name) for name in tensors}

    def may_stay(name: str) -> bool:
        size = _size(name)
        if size is None:
            return others and name.partition(".")[0] in _OF_CLASSES
        return size == edge or _place(name) not in common

    fits = {name for name in set(state) & set(tensors) if state[name].shape == tensors[name].shape}
    fits -= {name for name in fits if others and name.partition(".")[0] in _OF_CLASSES}
    misfits = [name for name in sorted((set(state) | set(tensors)) - fits) if not may_stay(name)]
    if misfits:
        name = misfits[0]
        shapes = (
            f"{tuple(tensors[name].shape)} there, {tuple(state[name].shape)} here"
            if name in state and name in tensors
            else "on one side only"
        )
        widths = weights.header["architecture"]
        raise TrainingError(
            f"train.init_from does not fit: {name} is {shapes}. Its networks have base_channels "
            f"{widths['base_channels']}, max_channels {widths['max_channels']} at {weights.header['resolution']} px: "
            f"set the same in train.{config.model}, and the same options"
        )
    network.load_state_dict({**state, **{name: tensors[name] for name in fits}})
    return sorted(set(state) - fits)


def _same_classes(here: Classes | None, there: Mapping[str, Any] | None) -> bool:
    """Whether both have the same label and the same values in the same order."""
    if here is None or there is None:
        return here is None and there is None
    return (here.label, list(here.values)) == (there["label"], list(there["values"]))


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _place(name: str) -> tuple[str, int | None]:
    """The part of a network that a weight belongs to, and its size."""
    return name.partition(".")[0], _size(name)


def _size(name: str) -> int | None:
    """The size in px that a weight works at; None for those that all resolutions have."""
    part, _, rest = name.partition(".")
    return int(rest.split(".")[0]) if part in _SIZED else None
