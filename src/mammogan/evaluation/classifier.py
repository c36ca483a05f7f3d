"""The detector whose benefit is measured: a small convolutional network, trained from scratch on grey images.

Four stages of 3 x 3 convolutions, each halving the image, then the mean and the maximum of every channel: the mean
sees what is spread over the breast, such as density, the maximum what is in one place, such as a mass. Groups are
normalised within an image (Wu and He 2018, arXiv:1803.08494), so no statistic of synthetic images is carried over to
real ones, as batch norm would do. 79,089 weights; docs/utility.md says why so few.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mammogan.data.tiles import to_model
from mammogan.evaluation.augmentation import augmented

_CHANNELS = (16, 32, 64, 96)
_GROUPS = 8
_DROPOUT = 0.2
_WEIGHT_DECAY = 0.01
_WARM_UP = 0.1  # share of the updates in which the learning rate rises; then it falls as a cosine to 0
_AT_ONCE = 64  # images scored at a time


@dataclass(frozen=True)
class Training:
    """How a classifier is trained.

    Attributes:
        updates: steps of the optimiser.
        batch_size: images a step, half of them with the finding.
        lr: highest learning rate of AdamW.
        augment: each image is changed at random each time it is shown.
        seed: of the first weights, the order of the images and the changes.
    """

    updates: int
    batch_size: int
    lr: float
    augment: bool
    seed: int


class Classifier(nn.Module):
    """Grey images to the logit of the finding."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for narrow, wide in zip((1, *_CHANNELS), _CHANNELS, strict=False):
            stages += [
                nn.Conv2d(narrow, wide, 3, padding=1, stride=2 if narrow == 1 else 1, bias=False),
                nn.GroupNorm(_GROUPS, wide),
                nn.ReLU(),
            ]
            if narrow != 1:
                stages.append(nn.MaxPool2d(2))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(2 * _CHANNELS[-1], 1))

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, 1, H, W) in [-1, 1], H and W at least 16 -> logits (N,)."""
        maps = self.stages(images)
        seen = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        logits: Tensor = self.head(seen)[:, 0]
        return logits


def train(
    images: NDArray[np.uint8],
    labels: NDArray[np.bool_],
    how: Training,
    device: torch.device,
    done: Callable[[int], object],
) -> Classifier:
    """A classifier trained on images uint8 (N, H, W) with labels (N,), both classes present.

    Every batch is half one class, half the other, so that prevalence decides nothing. The result is a function of
    the arguments, and of the machine's rounding; no global random state is changed. `done(1)` is called after each
    update.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(how.seed)
        net = Classifier().to(device).train()
        optimiser = torch.optim.AdamW(net.parameters(), lr=how.lr, weight_decay=_WEIGHT_DECAY)
        chance = np.random.default_rng(how.seed)
        per_class = how.batch_size // 2
        order = [_passes(np.flatnonzero(labels == value), per_class, how.updates, chance) for value in (False, True)]
        target = torch.tensor([0.0] * per_class + [1.0] * per_class, device=device)
        for update in range(how.updates):
            for group in optimiser.param_groups:
                group["lr"] = how.lr * _schedule(update, how.updates)
            shown = np.concatenate([of_class[update] for of_class in order])
            batch = to_model(torch.from_numpy(images[shown])[:, None].to(device))
            if how.augment:
                batch = augmented(batch, chance)
            optimiser.zero_grad(set_to_none=True)
            F.binary_cross_entropy_with_logits(net(batch), target).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            done(1)
    return net.eval()


@torch.inference_mode()
def scores(net: Classifier, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits (N,) of images uint8 (N, H, W) by a classifier in eval mode; higher is likelier the finding."""
    device = next(net.parameters()).device
    parts = [
        net(to_model(torch.from_numpy(images[start : start + _AT_ONCE])[:, None].to(device))).cpu().numpy()
        for start in range(0, len(images), _AT_ONCE)
    ]
    found: NDArray[np.float32] = np.concatenate(parts)
    return found


def _passes(members: NDArray[np.intp], n: int, updates: int, chance: np.random.Generator) -> NDArray[np.intp]:
    """Indices (updates, n): pass after pass over `members`, each in a new random order."""
    rounds = -(-n * updates // len(members))
    shuffled = np.concatenate([chance.permutation(members) for _ in range(rounds)])
    return shuffled[: n * updates].reshape(updates, n)


def _schedule(update: int, updates: int) -> float:
    warm_up = max(1, round(_WARM_UP * updates))
    if update < warm_up:
        return (update + 1) / warm_up
    return float(0.5 * (1 + np.cos(np.pi * (update - warm_up) / max(1, updates - warm_up))))
