"""Start a run from the weights of another one, of the same or of another resolution.

Names of weights carry the size that they work at, so those of the sizes that both networks have are taken over, and
what only one of them has is left out or stays fresh. FreezeD (Mo et al. 2020, arXiv:2002.10964): the layers of D next
to the image keep their weights, so that a small set does not spoil what a large one has taught.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mammogan.config import TrainConfig
from mammogan.errors import TrainingError
from mammogan.models import store
from mammogan.training.steps import Networks

_SIZED = ("blocks", "to_grey", "from_grey")
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
        TrainingError: they are of another model or of other widths, or D has fewer sizes.
    """
    if weights.header["model"] != config.model:
        raise TrainingError(
            f"train.init_from holds a {weights.header['model']} and train.model is {config.model}; set one to the other"
        )
    resolution = nets.G.resolution
    fresh = [
        *_take(nets.G, weights.G, weights, config, resolution),
        *_take(nets.D, weights.D, weights, config, resolution),
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


def _take(
    network: nn.Module, tensors: dict[str, Tensor], weights: Weights, config: TrainConfig, resolution: int
) -> list[str]:
    """Copy what fits by name; returns the names of the weights that stay fresh."""
    state = network.state_dict()
    there = set(state) & set(tensors)
    misfits = [name for name in sorted(there) if state[name].shape != tensors[name].shape]
    # The layer at the image of the smaller of two DCGANs is an inner one of the larger.
    edge = min(resolution, weights.header["resolution"]) if resolution != weights.header["resolution"] else None
    there -= {name for name in misfits if _size(name) == edge}
    misfits = [name for name in misfits if name in there]
    sizeless = [name for name in sorted(set(state) ^ set(tensors)) if not _size(name)]
    if misfits or (sizeless and weights.header["classes"] is None and config.condition is None):
        name = (misfits or sizeless)[0]
        widths = weights.header["architecture"]
        keys = ("z_dim", "w_dim", "base_channels", "max_channels")
        asked = ", ".join(f"{key} {widths[key]}" for key in keys if key in widths)
        shapes = (
            f"{tuple(tensors[name].shape)} there, {tuple(state[name].shape)} here" if misfits else "on one side only"
        )
        raise TrainingError(
            f"train.init_from does not fit: {name} is {shapes}. Its networks have {asked} at "
            f"{weights.header['resolution']} px: set the same in train.{config.model}, and the same options"
        )
    network.load_state_dict({**state, **{name: tensors[name] for name in there}})
    return sorted(set(state) - there)


def _size(name: str) -> int | None:
    """The size in px that a weight works at; None for those that all resolutions have."""
    part, _, rest = name.partition(".")
    return int(rest.split(".")[0]) if part in _SIZED else None
