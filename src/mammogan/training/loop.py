"""The training loop of both models."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammogan.config import TrainConfig
from mammogan.data.tiles import Greys, depth, to_model
from mammogan.errors import TrainingError
from mammogan.models import Generator
from mammogan.models.generator import normal, source
from mammogan.training import checkpoint
from mammogan.training.cost import gflop_per_image, memory_mb, reset_memory
from mammogan.training.ema import decay, update_average
from mammogan.training.precision import Precision, choose_device, choose_precision, memory_format
from mammogan.training.steps import Networks, add_noise, generate, new_networks, update_discriminator, update_generator

_LOGS = 50  # lines of metrics in a run
_SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class TrainResult:
    """The trained generator (the running average, in eval mode) and what it cost.

    `elapsed_s` and `peak_memory_mb` are of training alone, without snapshots, over all parts of an interrupted run.
    """

    G: Generator
    n_images: int
    elapsed_s: float
    images_per_s: float
    peak_memory_mb: float
    precision: Precision
    gflop_per_image: float


@dataclass
class _Progress:
    """All of a run's state outside the networks."""

    n_images: int = 0
    snapshots: int = 0  # taken so far
    elapsed_s: float = 0.0
    logged_s: float = 0.0  # elapsed_s at the last line of metrics
    logged_images: int = 0
    peak_memory_mb: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)  # of each metric since then
    counts: dict[str, int] = field(default_factory=dict)


def train(
    config: TrainConfig,
    images: Greys,
    *,
    data_sha256: str,
    folder: Path,
    log: Callable[[dict[str, float], int], None],
    snapshot: Callable[[Generator, int], None],
    progress: Callable[[int], None],
) -> TrainResult:
    """Train `config.model` on uint8 or uint16 images (N, R, R), or go on from the last checkpoint in `folder`.

    All chance is a function of (seed, n_images) and the order of the data of (seed, epoch), so on a CPU a run that
    was killed and called again ends with the same weights, bit for bit. The last, smaller batch of an epoch is
    dropped. `n_images` counts real images shown.

    Args:
        config: the run; `precision: auto` is decided here by a short timing.
        images: training images, all of one patient-disjoint split; may be memory-mapped.
        data_sha256: names the pixels and their order (`Tiles.sha256`); a checkpoint of other data is not taken up.
        folder: checkpoints of this run and no other.
        log: receives means since the last call and n_images, about fifty times.
        snapshot: receives the averaged generator in eval mode and n_images, before the first step and at
            each `config.evaluate_kimg`, the last at the end; not again after a resume.
        progress: receives n_images after each step; may raise to stop.

    Raises:
        TrainingError: the batch is larger than the data, the device or a network for the resolution is missing, the
            device has too little memory, or a loss is not finite.
    """
    n_steps = total_steps(config, len(images))
    device = choose_device(config)
    precision = choose_precision(config)
    resolution = images.shape[-1]
    with _out_of_memory_explained(config, resolution):
        nets = new_networks(config, resolution, device, precision)
        G_ema = copy.deepcopy(nets.G).eval().requires_grad_(False)
    G_ema.bits = depth(images)
    at = _Progress()
    identity = f"{config.model_dump_json()} {precision} {data_sha256}"
    snapshot_steps = snapshots(config, n_steps)
    log_every = max(1, n_steps // _LOGS)

    # Go on where an earlier call stopped.
    saved = checkpoint.load(folder, identity, device)
    if saved is not None:
        _restore(saved, nets, G_ema, at)
    saved_at = time.monotonic()
    reset_memory(device)

    while True:
        step = at.n_images // config.batch_size

        # Show the running average, the generator we score and serve.
        if at.snapshots < len(snapshot_steps) and step == snapshot_steps[at.snapshots]:
            checkpoint.save(folder, at.n_images, _state(nets, G_ema, at), identity)
            snapshot(G_ema, at.n_images)
            at.snapshots += 1
            checkpoint.save(folder, at.n_images, _state(nets, G_ema, at), identity)
            saved_at = time.monotonic()
            reset_memory(device)
        if step == n_steps:
            break
        started = time.perf_counter()

        with _out_of_memory_explained(config, resolution):
            # Draw the batch and the latents.
            chance = source(config.seed, at.n_images, device)
            real = to_model(_batch(images, config, step).to(device)).contiguous(memory_format=memory_format(precision))
            z = normal((config.batch_size, nets.G.z_dim), chance, device)
            noise_std = config.instance_noise * (1 - step / n_steps)

            # Update D: real logits up, fake logits down.
            fake = generate(nets, z, chance)
            r1 = config.stylegan
            r1_due = config.model == "stylegan" and r1.r1_gamma > 0 and step % r1.r1_every == 0
            r1_weight = r1.r1_gamma / 2 * r1.r1_every if r1_due else 0.0
            seen = update_discriminator(
                nets, add_noise(real, noise_std, chance), add_noise(fake.detach(), noise_std, chance), r1_weight
            )

            # Update G: fake logits up.
            seen |= update_generator(nets, add_noise(fake, noise_std, chance), config.loss)

            # Follow G with its running average.
            update_average(G_ema, nets.G, decay(at.n_images, config.batch_size, config.ema_kimg))
        at.n_images += config.batch_size

        # Tell the caller.
        values = torch.stack(list(seen.values())).tolist()  # waits for the device once
        _collect(at, dict(zip(seen, values, strict=True)))
        at.elapsed_s += time.perf_counter() - started
        if (step + 1) % log_every == 0 or step + 1 == n_steps:
            at.peak_memory_mb = max(at.peak_memory_mb, memory_mb(device))
            log(_means(at), at.n_images)
        progress(at.n_images)

        # Keep the state for a later call.
        if time.monotonic() - saved_at > _SAVE_EVERY_S:
            checkpoint.save(folder, at.n_images, _state(nets, G_ema, at), identity)
            saved_at = time.monotonic()

    return TrainResult(
        G=G_ema,
        n_images=at.n_images,
        elapsed_s=at.elapsed_s,
        images_per_s=at.n_images / max(at.elapsed_s, 1e-9),
        peak_memory_mb=at.peak_memory_mb,
        precision=precision,
        gflop_per_image=gflop_per_image(config, resolution),
    )


def snapshots(config: TrainConfig, n_steps: int) -> list[int]:
    """Steps before which the generator is shown: the first, one every `evaluate_kimg`, and the end.

    The last interval is between a half and one and a half of the others.
    """
    every = max(1, round(config.evaluate_kimg * 1000 / config.batch_size))
    return [*range(0, n_steps - every // 2, every), n_steps]


def total_steps(config: TrainConfig, n_images_in_data: int) -> int:
    """Steps of a run on so many training images: whole batches only, in each epoch.

    Raises:
        TrainingError: the batch is larger than the data.
    """
    if config.batch_size > n_images_in_data:
        raise TrainingError(
            f"batch_size {config.batch_size} is larger than the {n_images_in_data} training images; set "
            f"train.batch_size (in a study: study.factors.{config.model}.batch_size) to at most {n_images_in_data}, "
            "or prepare more images"
        )
    if config.kimg is not None:
        return max(1, round(config.kimg * 1000 / config.batch_size))
    assert config.epochs is not None, "the budget is one of the two"
    return n_images_in_data // config.batch_size * config.epochs


@contextmanager
def _out_of_memory_explained(config: TrainConfig, resolution: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as err:
        widths = config.dcgan if config.model == "dcgan" else config.stylegan
        raise TrainingError(
            f"the device has too little memory for batch_size {config.batch_size} and {config.model} with "
            f"base_channels {widths.base_channels} and max_channels {widths.max_channels} at {resolution} px; lower "
            f"train.batch_size or the widths in train.{config.model}, or prepare smaller images (prepare.resolution)"
        ) from err


def _batch(images: Greys, config: TrainConfig, step: int) -> Tensor:
    """Real images of a step (N, 1, R, R), uint8 or int32: 8 bits are a quarter of the floats' bytes on their way."""
    epoch, index = divmod(step, len(images) // config.batch_size)
    rows = _order(config.seed, epoch, len(images))[index * config.batch_size : (index + 1) * config.batch_size]
    batch = images[rows]
    return torch.from_numpy(batch if batch.dtype == np.uint8 else batch.astype(np.int32))[:, None]


@lru_cache(maxsize=1)  # one drawing serves all steps of an epoch
def _order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(n)


def _collect(at: _Progress, seen: dict[str, float]) -> None:
    for name, value in seen.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{name} is {value} after {at.n_images} images; lower train.lr, raise train.instance_noise or "
                "train.stylegan.r1_gamma, or set train.precision to fp32"
            )
        at.sums[name] = at.sums.get(name, 0.0) + value
        at.counts[name] = at.counts.get(name, 0) + 1


def _means(at: _Progress) -> dict[str, float]:
    means = {name: total / at.counts[name] for name, total in at.sums.items()}
    means["images_per_s"] = (at.n_images - at.logged_images) / max(at.elapsed_s - at.logged_s, 1e-9)
    at.sums, at.counts = {}, {}
    at.logged_images, at.logged_s = at.n_images, at.elapsed_s
    return means


def _state(nets: Networks, G_ema: Generator, at: _Progress) -> dict[str, Any]:
    return {
        "G": nets.G.state_dict(),
        "D": nets.D.state_dict(),
        "G_ema": G_ema.state_dict(),
        "adam_g": nets.adam_g.state_dict(),
        "adam_d": nets.adam_d.state_dict(),
        "progress": copy.deepcopy(vars(at)),
    }


def _restore(saved: dict[str, Any], nets: Networks, G_ema: Generator, at: _Progress) -> None:
    nets.G.load_state_dict(saved["G"])
    nets.D.load_state_dict(saved["D"])
    G_ema.load_state_dict(saved["G_ema"])
    nets.adam_g.load_state_dict(saved["adam_g"])
    nets.adam_d.load_state_dict(saved["adam_d"])
    vars(at).update(saved["progress"])
