"""The training loop of both models."""

import copy
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mammogan.config import TrainConfig
from mammogan.data.tiles import Greys, depth, to_model
from mammogan.errors import TrainingError
from mammogan.models import Classes, Generator
from mammogan.models.stylegan import Growth, StyleGANDiscriminator, StyleGANGenerator
from mammogan.training import checkpoint, watchdog
from mammogan.training.augment import leak, next_p
from mammogan.training.cost import gflop_per_image, memory_mb, reset_memory
from mammogan.training.ema import decay, update_average
from mammogan.training.growing import check_growth, growth_after, shrunk
from mammogan.training.interrupt import waiting
from mammogan.training.parallel import ALONE, Group
from mammogan.training.precision import Precision, choose_device, choose_precision, memory_format
from mammogan.training.steps import Moment, Networks, new_networks, take_step
from mammogan.training.watchdog import Verdict

_log = logging.getLogger(__name__)

_LOGS = 50  # lines of metrics in a run
_SAVE_EVERY_S = 60.0
_ROLLED_BACK_LR = 0.5
_NO_MEMORY = ("DefaultCPUAllocator", "MPS backend out of memory")


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Attributes:
        images: uint8 or uint16 (N, R, R), all of one patient-disjoint split; may be memory-mapped.
        sha256: names the pixels and their order (`Tiles.sha256`); a checkpoint of other data is not taken up.
        labels: the value of the label `config.condition` of each image; None for unconditional networks.
    """

    images: Greys
    sha256: str
    labels: Sequence[str] | None = None

    @property
    def identity(self) -> str:
        """Hash of images and labels."""
        return hashlib.sha256("\n".join([self.sha256, *(self.labels or ())]).encode()).hexdigest()


@dataclass(frozen=True)
class TrainResult:
    """What training leaves behind, and what it cost.

    `elapsed_s` and `peak_memory_mb` are of training alone, without snapshots, over all parts of an interrupted run.

    Attributes:
        G: the running average of G at the end, in eval mode: the generator that counts.
        raw: G itself at the end, in eval mode.
        D: the discriminator at the end.
        best: the running average at the evaluation with the lowest score, in eval mode; G where none was scored.
        best_images: real images shown before that evaluation.
        n_images: real images shown.
        events: what happened that was not planned, a line each.
        gflop_per_image: arithmetic of a step at full size, without penalties.
    """

    G: Generator
    raw: Generator
    D: nn.Module
    best: Generator
    best_images: int
    n_images: int
    events: tuple[str, ...]
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
    micro_batches: int = 1
    sums: dict[str, float] = field(default_factory=dict)  # of each metric since then
    counts: dict[str, int] = field(default_factory=dict)
    p: float = 0.0  # of augmentation
    signs: list[float] = field(default_factory=list)  # of D on real images, since p was last adjusted
    sign_sum: float = 0.0  # of D on real images, since the last evaluation
    sign_count: int = 0
    best_score: float | None = None
    best_images: int = 0
    acted: bool = False  # the watchdog acts once
    events: list[str] = field(default_factory=list)


def train(
    config: TrainConfig,
    data: Data,
    *,
    folder: Path,
    log: Callable[[dict[str, float], int], None],
    snapshot: Callable[[Generator, int], Verdict],
    event: Callable[[str, int], None],
    progress: Callable[[int, Mapping[str, float]], None],
    start: Callable[[Networks], None] | None = None,
    group: Group = ALONE,
) -> TrainResult:
    """Train `config.model`, or go on from the last checkpoint in `folder`.

    All chance is a function of (seed, n_images) and the order of the data of (seed, epoch), so on a CPU a run that
    was killed and called again ends with the same weights, bit for bit. The last, smaller batch of an epoch is
    dropped. `n_images` counts real images shown.

    Args:
        config: the run; `precision: auto` is decided here by a short timing.
        data: what it learns from.
        folder: checkpoints of this run and no other.
        log: receives means since the last call and n_images, about fifty times.
        snapshot: receives the averaged generator in eval mode and n_images, before the first step and after
            each `config.evaluate_kimg`, the last at the end; not again after a resume. Returns what it found.
        event: receives a sentence on what was not planned, and n_images.
        progress: receives n_images and the step's losses after each step; may raise to stop.
        start: changes the initial networks in place (`training.transfer`).
        group: the processes that share the run; only the first one calls the functions above but `start`.

    Raises:
        TrainingError: the batch is larger than the data, the device or a network for the resolution is missing, the
            device has too little memory, a loss is not finite, or the watchdog ends the run.
    """
    images = data.images
    n_steps = total_steps(config, len(images))
    resolution = images.shape[-1]
    device = choose_device(config)
    precision = group.share(choose_precision(config))
    classes, numbers = classes_of(config, data.labels)
    check(config, resolution, n_steps, group)
    leaks = leak(config.augment)
    if leaks and group.first:
        _log.warning("%s", leaks)
    with _out_of_memory_explained(config, resolution):
        nets = new_networks(config, resolution, device, precision, classes, group)
        nets.G.bits = depth(images)
        if start:
            start(nets)
        G_ema = copy.deepcopy(nets.G).eval().requires_grad_(False)
    at = _Progress(p=1.0 if config.augment.mode == "diffaugment" else 0.0)
    other = "stylegan" if config.model == "dcgan" else "dcgan"
    identity = f"{config.model_dump_json(exclude={other})} {precision} {data.identity}"
    run = _Run(config, nets, G_ema, at, folder, identity, event, n_steps * config.batch_size)
    snapshot_steps = snapshots(config, n_steps)
    log_every = max(1, n_steps // _LOGS)

    # Go on where an earlier call stopped.
    run.restore(group.share(checkpoint.load(folder, identity) if group.first else None))
    saved_at = time.monotonic()
    reset_memory(device)

    while True:
        step = at.n_images // config.batch_size
        growth = run.grow(resolution)

        # Show the running average, the generator we score and serve.
        if at.snapshots < len(snapshot_steps) and step == snapshot_steps[at.snapshots]:
            run.save()
            verdict = group.share(snapshot(G_ema, at.n_images) if group.first else None)
            at.snapshots += 1
            run.judge(verdict, last=step == n_steps)
            run.save()
            saved_at = time.monotonic()
            reset_memory(device)
        if step == n_steps:
            break

        with waiting() as stop:
            started = time.perf_counter()

            # Show D and G a batch, and let the running average follow G.
            with _out_of_memory_explained(config, resolution):
                rows = batch_rows(config, step, len(images))[group.rank :: group.world]
                real = shrunk(to_model(_batch(images, rows).to(device)), growth)
                seen = take_step(
                    nets,
                    config,
                    real.contiguous(memory_format=memory_format(precision)),
                    None if numbers is None else torch.from_numpy(numbers[rows]).to(device),
                    Moment(step, at.n_images, config.instance_noise * (1 - step / n_steps), at.p),
                )
                update_average(G_ema, nets.G, decay(at.n_images, config.batch_size, config.ema_kimg))
            at.n_images += config.batch_size

            # Note what was seen.
            values = group.mean(torch.stack(list(seen.values()))).tolist()  # waits for the device once
            losses = run.note(dict(zip(seen, values, strict=True)))
            at.elapsed_s += time.perf_counter() - started
            if (step + 1) % log_every == 0 or step + 1 == n_steps:
                at.peak_memory_mb = max(at.peak_memory_mb, memory_mb(device))
                means = _means(at, config)
                if group.first:
                    log(means, at.n_images)
            if group.first:
                progress(at.n_images, losses)

            # Keep the state for a later call.
            if stop.signals or time.monotonic() - saved_at > _SAVE_EVERY_S:
                run.save()
                saved_at = time.monotonic()

    best, best_images = run.best()
    return TrainResult(
        G=G_ema,
        raw=nets.G.eval().requires_grad_(False),
        D=nets.D,
        best=best,
        best_images=best_images,
        n_images=at.n_images,
        events=tuple(at.events),
        elapsed_s=at.elapsed_s,
        images_per_s=at.n_images / max(at.elapsed_s, 1e-9),
        peak_memory_mb=at.peak_memory_mb,
        precision=precision,
        gflop_per_image=gflop_per_image(config, resolution),
    )


@dataclass
class _Run:
    """A run in the middle of its work."""

    config: TrainConfig
    nets: Networks
    G_ema: Generator
    at: _Progress
    folder: Path
    identity: str
    event: Callable[[str, int], None]
    n_images: int  # real images that the whole run shows

    def save(self) -> None:
        """Keep the state for a later call."""
        if self.nets.group.first:
            checkpoint.save(self.folder, self.at.n_images, self._state(), self.identity)

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Go on with a state that `save` wrote, in however many processes."""
        if saved is None:
            return
        self._take(saved)
        vars(self.at).update(saved["progress"])
        group = self.nets.group
        if saved["world"] != group.world:
            self.at.micro_batches = max(1, self.at.micro_batches // group.world)  # of no more images than before
            if group.first:
                _log.warning(
                    "the run was begun by %d processes and goes on in %d: the same but for rounding",
                    saved["world"],
                    group.world,
                )
        self.nets.micro_batches = self.at.micro_batches

    def grow(self, resolution: int) -> Growth | None:
        """Set the size of the networks at this moment, and return it."""
        if self.config.model == "dcgan":
            return None
        growth = growth_after(self.at.n_images, self.config.stylegan, resolution)
        for network in (self.nets.G, self.nets.D, self.G_ema):
            assert isinstance(network, StyleGANGenerator | StyleGANDiscriminator)
            network.growth = growth
        return growth

    def note(self, seen: dict[str, float]) -> dict[str, float]:
        """Remember what a step has seen and steer the augmentation; gives it back."""
        at, ada = self.at, self.config.augment
        if self.nets.micro_batches > at.micro_batches:
            at.micro_batches = self.nets.micro_batches
            self._tell(f"out of memory: a batch is taken in {at.micro_batches} micro-batches from now on")
        wrong = watchdog.not_finite(seen)
        if wrong:
            self._act(wrong, fatal=True)
            return seen
        for name, value in seen.items():
            at.sums[name] = at.sums.get(name, 0.0) + value
            at.counts[name] = at.counts.get(name, 0) + 1
        at.sign_sum += seen["signs/real"]
        at.sign_count += 1
        at.signs.append(seen["signs/real"])
        if len(at.signs) == ada.every:
            if ada.mode == "ada":
                at.p = next_p(at.p, sum(at.signs) / len(at.signs), ada, ada.every * self.config.batch_size)
            at.signs = []
        return seen

    def judge(self, verdict: Verdict, *, last: bool) -> None:
        """Keep the state where its score is the best so far; let the watchdog act on what is wrong."""
        at = self.at
        wrong = verdict.complaint or (
            watchdog.overfitted(at.sign_sum / at.sign_count, self.config.watchdog.overfit) if at.sign_count else None
        )
        at.sign_sum, at.sign_count = 0.0, 0
        sound = not (wrong and self.config.watchdog.act == "roll_back") or not at.n_images
        full_grown = getattr(self.G_ema, "growth", None) is None
        before = at.best_score, at.best_images
        better = verdict.score is not None and (at.best_score is None or verdict.score < at.best_score)
        if better and full_grown and sound:
            at.best_score, at.best_images = verdict.score, at.n_images
        best = at.best_score is not None and at.best_images == at.n_images
        # A network that grows has no best yet: its latest sound state is what it is rolled back to.
        if sound and (best or not at.n_images or not full_grown) and not self._keep_best() and not last:
            at.best_score, at.best_images = before
        if wrong and not watchdog.young(at.n_images, self.n_images):
            self._act(wrong, last=last)

    def _keep_best(self) -> bool:
        """Write the state to which the best generator and a roll-back return; whether it could be written."""
        group = self.nets.group
        return bool(
            group.share(
                checkpoint.save_best(self.folder, self.at.n_images, self._state(), self.identity)
                if group.first
                else None
            )
        )

    def best(self) -> tuple[Generator, int]:
        """The running average at the best evaluation, and its images; those of the end where none was kept."""
        at, last = self.at, (self.G_ema, self.at.n_images)
        if at.best_score is None or at.best_images == at.n_images or not self.nets.group.first:
            return last
        saved = checkpoint.load_best(self.folder, self.identity)
        if saved is None or saved["progress"]["n_images"] != at.best_images:
            return last
        G = copy.deepcopy(self.G_ema)
        G.load_state_dict(saved["G_ema"])
        return G, at.best_images

    def _act(self, complaint: str, *, fatal: bool = False, last: bool = False) -> None:
        """Do once what the configuration asks for; what is fatal ends a run that is not rolled back."""
        at, act = self.at, self.config.watchdog.act
        if act == "fail" or (fatal and (act == "report" or at.acted)):
            raise TrainingError(
                f"{complaint} after {at.n_images} images; lower train.lr, raise train.instance_noise or "
                f"train.{self.config.model}.r1_gamma, or set train.precision to fp32"
            )
        if at.acted:
            return
        at.acted = True
        if act == "report" or last:
            self._tell(complaint)
            return
        first = self.nets.group.first
        saved = checkpoint.load_best(self.folder, self.identity) if first else None
        saved = self.nets.group.share(saved)
        if saved is None:
            raise TrainingError(f"{complaint} after {at.n_images} images, and no sound state is left to go back to")
        self._take(saved)
        at.p = saved["progress"]["p"]
        for adam in (self.nets.adam_g, self.nets.adam_d):
            for weights in adam.param_groups:
                weights["lr"] *= _ROLLED_BACK_LR
        back = saved["progress"]["n_images"]
        self._tell(f"{complaint}; weights are those after {back} images again, learning rates are halved")

    def _tell(self, sentence: str) -> None:
        self.at.events.append(f"after {self.at.n_images} images: {sentence}")
        if self.nets.group.first:
            self.event(sentence, self.at.n_images)

    def _state(self) -> dict[str, Any]:
        nets = self.nets
        return {
            "G": nets.G.state_dict(),
            "D": nets.D.state_dict(),
            "G_ema": self.G_ema.state_dict(),
            "adam_g": nets.adam_g.state_dict(),
            "adam_d": nets.adam_d.state_dict(),
            "scaler_g": nets.scaler_g.state_dict(),
            "scaler_d": nets.scaler_d.state_dict(),
            "path_mean": nets.path_mean,
            "world": nets.group.world,
            "progress": copy.deepcopy(vars(self.at)),
        }

    def _take(self, saved: dict[str, Any]) -> None:
        """Networks and optimisers of a state."""
        nets = self.nets
        nets.G.load_state_dict(saved["G"])
        nets.D.load_state_dict(saved["D"])
        self.G_ema.load_state_dict(saved["G_ema"])
        nets.adam_g.load_state_dict(saved["adam_g"])
        nets.adam_d.load_state_dict(saved["adam_d"])
        nets.scaler_g.load_state_dict(saved["scaler_g"])
        nets.scaler_d.load_state_dict(saved["scaler_d"])
        nets.path_mean.copy_(saved["path_mean"])


def snapshots(config: TrainConfig, n_steps: int) -> list[int]:
    """Steps before which the generator is shown: the first, one every `evaluate_kimg`, and the end.

    The last interval is between a half and one and a half of the others.
    """
    every = max(1, round(config.evaluate_kimg * 1000 / config.batch_size))
    return [0, *range(every, n_steps - every // 2, every), n_steps]


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


def check(config: TrainConfig, resolution: int, n_steps: int, group: Group) -> None:
    """Refuse what would only show after hours.

    Raises:
        TrainingError: the run ends before the networks are full grown, processes cannot share a batch evenly, or a
            share of one image has no spread.
    """
    if config.model == "stylegan":
        check_growth(config.stylegan, resolution, n_steps * config.batch_size)
    if config.batch_size % group.world:
        raise TrainingError(
            f"{group.world} processes cannot share a batch of {config.batch_size} evenly; start a number of processes "
            "that divides train.batch_size"
        )
    if config.batch_size // group.world < 2 and (config.model == "stylegan" or config.dcgan.minibatch_std):
        raise TrainingError(
            f"each of {group.world} processes has one image of a batch of {config.batch_size}, and the minibatch "
            f"standard deviation of D needs two; start at most {config.batch_size // 2} processes, or raise "
            "train.batch_size"
        )


def insist(
    config: TrainConfig, data: Data, start: Callable[[Networks], None] | None = None, group: Group = ALONE
) -> None:
    """Refuse, before anything is computed or kept, what `train` would refuse before its first step.

    Raises:
        TrainingError: as `train`, for settings that fit neither data nor device nor the weights of `start`.
    """
    resolution = data.images.shape[-1]
    n_steps = total_steps(config, len(data.images))
    classes, _ = classes_of(config, data.labels)
    choose_device(config)
    check(config, resolution, n_steps, group)
    if start:
        with _out_of_memory_explained(config, resolution):
            eager = config.model_copy(update={"compile": False})
            start(new_networks(eager, resolution, torch.device("cpu"), "fp32", classes))


def classes_of(config: TrainConfig, labels: Sequence[str] | None) -> tuple[Classes | None, NDArray[np.int64] | None]:
    """The classes that images are conditioned on and the number of each image's class, int64 (N,).

    Raises:
        TrainingError: images have no label, or all have the same.
    """
    if config.condition is None:
        return None, None
    counts = Counter(labels or ())
    known = len(labels or ()) - counts[""]
    if not known or counts[""]:
        raise TrainingError(
            f"{counts['']} of {len(labels or ())} training images have no {config.condition}; fill the gaps in the "
            "label table and run `mammogan prepare` again, choose another label, or set train.condition to null"
        )
    values = tuple(sorted(counts))
    if len(values) == 1:
        raise TrainingError(
            f"all training images have {config.condition} {values[0]}: there is nothing to tell apart; set "
            "train.condition to null"
        )
    numbers = np.array([values.index(label) for label in labels or ()], np.int64)
    return Classes(config.condition, values, tuple(counts[value] / known for value in values)), numbers


@contextmanager
def _out_of_memory_explained(config: TrainConfig, resolution: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as err:  # that of CUDA has a class of its own, the others have not
        if not isinstance(err, torch.OutOfMemoryError) and not any(sign in str(err) for sign in _NO_MEMORY):
            raise
        widths = config.dcgan if config.model == "dcgan" else config.stylegan
        raise TrainingError(
            f"the device has too little memory for batch_size {config.batch_size} and {config.model} with "
            f"base_channels {widths.base_channels} and max_channels {widths.max_channels} at {resolution} px; lower "
            f"train.batch_size or the widths in train.{config.model}, or prepare smaller images (prepare.resolution)"
        ) from err


def batch_rows(config: TrainConfig, step: int, n: int) -> NDArray[np.int64]:
    """Rows of the `n` images that make the batch of a step, (batch_size,)."""
    epoch, index = divmod(step, n // config.batch_size)
    return _order(config.seed, epoch, n)[index * config.batch_size : (index + 1) * config.batch_size]


def _batch(images: Greys, rows: NDArray[np.int64]) -> Tensor:
    """Real images (N, 1, R, R), uint8 or int32: 8 bits are a quarter of the floats' bytes on their way."""
    batch = images[rows]
    return torch.from_numpy(batch if batch.dtype == np.uint8 else batch.astype(np.int32))[:, None]


@lru_cache(maxsize=1)  # one drawing serves all steps of an epoch
def _order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(n)


def _means(at: _Progress, config: TrainConfig) -> dict[str, float]:
    means = {name: total / at.counts[name] for name, total in at.sums.items()}
    means["images_per_s"] = (at.n_images - at.logged_images) / max(at.elapsed_s - at.logged_s, 1e-9)
    if config.augment.mode == "ada":
        means["augment/p"] = at.p
    at.sums, at.counts = {}, {}
    at.logged_images, at.logged_s = at.n_images, at.elapsed_s
    return means
