"""One training step: an update of D, one of G, and now and then a penalty.

A batch may be taken in several micro-batches, one after another, and by several processes: the gradients of all of
them make one update. Each image keeps the chance that it would have in one batch (`models.generator.Part`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mammogan.config import TrainConfig
from mammogan.models import Classes, Generator, build
from mammogan.models.generator import Noise, Part, normal, source
from mammogan.models.stylegan import StyleGANGenerator
from mammogan.training.augment import augment
from mammogan.training.losses import GENERATOR_LOSSES, discriminator_loss, path_length_penalty, r1_penalty
from mammogan.training.parallel import ALONE, Group, synced
from mammogan.training.precision import Precision, autocast, memory_format, new_scaler

# DCGAN: Radford et al. 2016, section 4; StyleGAN: Karras et al. 2018, appendix A.1.
_BETAS = {"dcgan": (0.5, 0.999), "stylegan": (0.0, 0.99)}
_PATH_DECAY = 0.01  # of the running mean of path lengths, as in the authors' code
_LATENTS, _FOR_D, _FOR_G, _FOR_R1, _FOR_PATHS = range(5)  # purposes of chance in a step


@dataclass
class Networks:
    """G and D, each with its optimiser, on one device in one number format.

    Attributes:
        micro_batches: parts in which this process takes its share of a batch.
        path_mean: running mean of the path lengths, a scalar.
    """

    G: Generator
    D: nn.Module
    adam_g: torch.optim.Optimizer
    adam_d: torch.optim.Optimizer
    scaler_g: torch.amp.GradScaler
    scaler_d: torch.amp.GradScaler
    device: torch.device
    precision: Precision
    group: Group = ALONE
    micro_batches: int = 1
    path_mean: Tensor = field(default_factory=lambda: torch.zeros(()))


class Moment(NamedTuple):
    """Where a step stands in its run.

    Attributes:
        step: number of the step, from 0.
        n_images: real images shown before it; with the run's seed it decides all chance of the step.
        noise_std: standard deviation of the instance noise.
        p: probability of each augmentation.
    """

    step: int
    n_images: int
    noise_std: float
    p: float


def r1_weight(config: TrainConfig, resolution: int) -> float:
    """The weight gamma of the R1 penalty; by the rule 0.0002 * resolution^2 / batch size where it is null.

    The rule is that of Karras et al. 2020 (arXiv:2006.06676), appendix C, for one batch size of all processes.
    """
    gamma = config.architecture.r1_gamma
    return 0.0002 * resolution**2 / config.batch_size if gamma is None else gamma


def new_networks(
    config: TrainConfig,
    resolution: int,
    device: torch.device,
    precision: Precision,
    classes: Classes | None = None,
    group: Group = ALONE,
) -> Networks:
    """Networks with the initial weights that belong to `config.seed`; global random states are left alone.

    A penalty every k steps is an update of its own: Adam then takes k + 1 updates for k steps, so its learning rate and
    betas are those of k / (k + 1) of an update (Karras et al. 2020, arXiv:1912.04958, appendix B).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        G, D = build(config, resolution, classes)
    layout = memory_format(precision)
    for network in (G, D):
        network.to(device, memory_format=layout)  # type: ignore[call-overload]
        synced(network, group)
        if config.compile:
            network.compile()

    def adam(network: nn.Module, lr: float, every: int | None) -> torch.optim.Optimizer:
        share = every / (every + 1) if every else 1.0
        first, second = _BETAS[config.model]
        fused = device.type != "meta"  # meta: shapes alone, for counting
        betas = (first**share if first else 0.0, second**share)
        return torch.optim.Adam(network.parameters(), lr=lr * share, betas=betas, fused=fused)

    own = config.stylegan
    return Networks(
        G,
        D,
        adam(G, config.lr, own.path_length_every if config.model == "stylegan" and own.path_length else None),
        adam(D, config.lr * config.lr_d_ratio, config.architecture.r1_every if r1_weight(config, resolution) else None),
        new_scaler(device, precision),
        new_scaler(device, precision),
        device,
        precision,
        group,
        path_mean=torch.zeros((), device=device),
    )


def take_step(
    nets: Networks, config: TrainConfig, real: Tensor, classes: Tensor | None, moment: Moment
) -> dict[str, Tensor]:
    """Update D and G once, and every few steps by their penalties.

    Args:
        nets: changed in place.
        config: of the run.
        real: this process's share of the batch, float32 (N, 1, H, W), in the layout of the networks.
        classes: their classes, int64 (N,), for conditional networks.
        moment: place in the run.

    Returns:
        Scalars without a graph, means over the batch: loss/D, loss/G, logits/real, logits/fake, signs/real, and, when
        due, r1 and path_length.

    Raises:
        torch.OutOfMemoryError: even single images do not fit.
    """
    step = _Step(nets, config, real, classes, moment)
    penalties = config.architecture
    seen = _fitting(step, _update_discriminator)
    if r1_weight(config, real.shape[2]) and moment.step % penalties.r1_every == 0:
        seen |= _fitting(step, _penalise_gradients)
    seen |= _fitting(step, _update_generator)
    own = config.stylegan
    if config.model == "stylegan" and own.path_length and moment.step % own.path_length_every == 0:
        seen |= _fitting(step, _penalise_paths)
    nets.group.average(buffer for buffer in nets.G.buffers() if buffer.is_floating_point())
    return seen


def generate(nets: Networks, z: Tensor, noise: Noise, classes: Tensor | None = None) -> Tensor:
    """Latents (N, z_dim) -> float32 images (N, 1, R, R) with the graph for G's update."""
    with autocast(nets.device, nets.precision):
        images: Tensor = nets.G(z, classes, noise=noise)
    return images.float()


def judge(nets: Networks, images: Tensor, classes: Tensor | None) -> Tensor:
    """Images float32 (N, 1, R, R) -> logits (N,) float32, high for real."""
    with autocast(nets.device, nets.precision):
        logits: Tensor = nets.D(images, classes)
    return logits.float()


def disguise(images: Tensor, config: TrainConfig, moment: Moment, noise: Noise) -> Tensor:
    """Images (N, 1, R, R) as D is about to see them: augmented, and with Gaussian instance noise.

    Without the noise D tells the flat black background of a mammogram at once, and G learns nothing (Sønderby et al.
    2017, arXiv:1610.04490).
    """
    images = augment(images, moment.p, config.augment.operations, noise)
    if moment.noise_std:
        images = images + moment.noise_std * normal(images.shape, noise, images.device)
    return images


class _View(NamedTuple):
    """A micro-batch, its share of this process's images, and chance for each purpose asked for."""

    real: Tensor
    classes: Tensor | None
    share: float
    noise: Sequence[Noise]


@dataclass(frozen=True)
class _Step:
    """What the parts of a step share; `fakes` are images that the update of D leaves to that of G, with their graph."""

    nets: Networks
    config: TrainConfig
    real: Tensor
    classes: Tensor | None
    moment: Moment
    fakes: list[Tensor] = field(default_factory=list)

    def views(self, *purposes: int) -> Iterator[_View]:
        """Every k-th image, for each of the k micro-batches: so the groups of the minibatch statistic stay together."""
        parts, group = self.nets.micro_batches, self.nets.group
        for number in range(parts):
            noise: list[Noise] = []
            for purpose in purposes:
                chance = source(self.config.seed, self.moment.n_images, self.nets.device, purpose)
                alone = parts * group.world == 1
                noise.append(chance if alone else Part(chance, group.rank + group.world * number, group.world * parts))
            classes = None if self.classes is None else self.classes[number::parts]
            yield _View(self.real[number::parts], classes, 1 / parts, noise)

    def draw(self, view: _View) -> Tensor:
        """Images by G, as many as the view has, with its first chance."""
        noise = view.noise[0]
        z = normal((len(view.real), self.nets.G.z_dim), noise, self.nets.device)
        return generate(self.nets, z, noise, view.classes)

    def disguised(self, images: Tensor, noise: Noise) -> Tensor:
        """`disguise` at this moment."""
        return disguise(images, self.config, self.moment, noise)


def _update_discriminator(step: _Step) -> dict[str, Tensor]:
    """Real logits up, fake logits down."""
    nets, sums = step.nets, _Sums()
    step.fakes.clear()
    nets.adam_d.zero_grad(set_to_none=True)
    whole = nets.micro_batches == 1
    for view in step.views(_LATENTS, _FOR_D):
        with torch.set_grad_enabled(whole):
            fake = step.draw(view)
        if whole:
            step.fakes.append(fake)
        real_logits = judge(nets, step.disguised(view.real, view.noise[1]), view.classes)
        fake_logits = judge(nets, step.disguised(fake.detach(), view.noise[1]), view.classes)
        loss = discriminator_loss(real_logits, fake_logits)
        nets.scaler_d.scale(loss * view.share).backward()  # type: ignore[no-untyped-call]
        sums.add(
            view.share,
            {
                "loss/D": loss,
                "logits/real": real_logits.mean(),
                "logits/fake": fake_logits.mean(),
                "signs/real": real_logits.sign().mean(),
            },
        )
    _apply(nets, nets.D, nets.adam_d, nets.scaler_d)
    return sums.values


def _update_generator(step: _Step) -> dict[str, Tensor]:
    """Fake logits up, for the images that the update of D has left, or for the same ones made again."""
    nets, sums = step.nets, _Sums()
    nets.adam_g.zero_grad(set_to_none=True)
    kept = list(step.fakes) if nets.micro_batches == 1 else []
    step.fakes.clear()  # their graph, which may not fit, is not needed a second time
    with frozen(nets.D):
        for view in step.views(_LATENTS, _FOR_G):
            fake = kept.pop() if kept else step.draw(view)
            logits = judge(nets, step.disguised(fake, view.noise[1]), view.classes)
            loss = GENERATOR_LOSSES[step.config.loss](logits)
            nets.scaler_g.scale(loss * view.share).backward()  # type: ignore[no-untyped-call]
            sums.add(view.share, {"loss/G": loss})
    _apply(nets, nets.G, nets.adam_g, nets.scaler_g)
    return sums.values


def _penalise_gradients(step: _Step) -> dict[str, Tensor]:
    """An update of D by the weighted R1 penalty at what it sees of the real images.

    In bf16 where the run is in bf16: its gradients are then 1 to 3 % off those in float32, closer than those of the
    loss (benchmarks/README.md). Never in fp16, whose range the second derivatives leave, and never compiled.
    """
    nets, sums = step.nets, _Sums()
    weight = r1_weight(step.config, step.real.shape[2]) / 2 * step.config.architecture.r1_every
    nets.adam_d.zero_grad(set_to_none=True)
    for view in step.views(_FOR_R1):
        shown = step.disguised(view.real, view.noise[0]).requires_grad_(True)
        with autocast(nets.device, "bf16" if nets.precision == "bf16" else "fp32"):
            logits: Tensor = nets.D.forward(shown, view.classes)
        penalty = r1_penalty(logits.float(), shown)
        (weight * view.share * penalty).backward()  # type: ignore[no-untyped-call]
        sums.add(view.share, {"r1": penalty})
    _apply(nets, nets.D, nets.adam_d)
    return sums.values


def _penalise_paths(step: _Step) -> dict[str, Tensor]:
    """An update of G by the path-length penalty, in float32, on half a batch as in the authors' code."""
    nets, own, sums = step.nets, step.config.stylegan, _Sums()
    assert isinstance(nets.G, StyleGANGenerator), "only StyleGAN has styles"
    lengths = torch.zeros((), device=nets.device)
    nets.adam_g.zero_grad(set_to_none=True)
    for view in step.views(_FOR_PATHS):
        n = max(1, len(view.real) // 2)
        noise = view.noise[0]
        z = normal((n, nets.G.z_dim), noise, nets.device)
        styles = nets.G.styles(z, None if view.classes is None else view.classes[:n], noise=noise)
        images = nets.G.synthesise(styles, noise=noise)
        grain = normal(images.shape, noise, nets.device)
        penalty, length = path_length_penalty(images, styles, grain, nets.path_mean)
        (own.path_length * own.path_length_every * view.share * penalty).backward()  # type: ignore[no-untyped-call]
        lengths += view.share * length
        sums.add(view.share, {"path_length": penalty})
    _apply(nets, nets.G, nets.adam_g)
    nets.path_mean.lerp_(nets.group.mean(lengths), _PATH_DECAY)
    return sums.values


class _Sums:
    """Weighted sums of scalars by name."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def add(self, weight: float, scalars: dict[str, Tensor]) -> None:
        for name, scalar in scalars.items():
            term = weight * scalar.detach()
            self.values[name] = self.values[name] + term if name in self.values else term


def _fitting(step: _Step, phase: Callable[[_Step], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Run a part of the step; where memory does not suffice, halve the micro-batches and run it again.

    Several processes would have to halve together: there the error stands.
    """
    nets = step.nets
    while True:
        try:
            return phase(step)
        except torch.OutOfMemoryError:
            smallest = len(step.real) // nets.micro_batches
            if nets.group.world > 1 or smallest % 2 or smallest <= 2:  # batch norm and the statistic need two
                raise
        nets.micro_batches *= 2
        nets.adam_d.zero_grad(set_to_none=True)
        nets.adam_g.zero_grad(set_to_none=True)
        if nets.device.type == "cuda":
            torch.cuda.empty_cache()


def _apply(
    nets: Networks, network: nn.Module, adam: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None = None
) -> None:
    """One update by the gradients of all micro-batches and processes, which `scaler` has scaled.

    They are averaged before the scaler looks at them: what overflows in one process makes all of them skip the update.
    """
    nets.group.average(weight.grad for weight in network.parameters() if weight.grad is not None)
    if scaler is None:
        adam.step()
    else:
        scaler.unscale_(adam)
        scaler.step(adam)
        scaler.update()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No gradients for the weights of `network`, which would be thrown away."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
