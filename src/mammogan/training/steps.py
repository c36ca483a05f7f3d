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
    penalties = config.architecture
    fakes: list[Tensor] = []
    seen = _fitting(nets, real, lambda: _update_discriminator(nets, config, real, classes, moment, fakes))
    gamma = r1_weight(config, real.shape[2])
    if gamma and moment.step % penalties.r1_every == 0:
        weight = gamma / 2 * penalties.r1_every
        seen |= _fitting(nets, real, lambda: _penalise_gradients(nets, config, real, classes, moment, weight))
    seen |= _fitting(nets, real, lambda: _update_generator(nets, config, real, classes, moment, fakes))
    own = config.stylegan
    if config.model == "stylegan" and own.path_length and moment.step % own.path_length_every == 0:
        seen |= _fitting(nets, real, lambda: _penalise_paths(nets, config, real, classes, moment))
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


def _update_discriminator(
    nets: Networks,
    config: TrainConfig,
    real: Tensor,
    classes: Tensor | None,
    moment: Moment,
    fakes: list[Tensor],
) -> dict[str, Tensor]:
    """Real logits up, fake logits down. Leaves the images in `fakes`, with their graph, where G can use them."""
    fakes.clear()
    sums = _Sums()
    nets.adam_d.zero_grad(set_to_none=True)
    whole = nets.micro_batches == 1
    for part in _parts(nets, real, classes, config, moment, (_LATENTS, _FOR_D)):
        with torch.set_grad_enabled(whole):
            fake = _draw(nets, part)
        if whole:
            fakes.append(fake)
        real_logits = judge(nets, disguise(part.real, config, moment, part.noise[1]), part.classes)
        fake_logits = judge(nets, disguise(fake.detach(), config, moment, part.noise[1]), part.classes)
        loss = discriminator_loss(real_logits, fake_logits)
        nets.scaler_d.scale(loss * part.share).backward()  # type: ignore[no-untyped-call]
        sums.add(
            part.share,
            {
                "loss/D": loss,
                "logits/real": real_logits.mean(),
                "logits/fake": fake_logits.mean(),
                "signs/real": real_logits.sign().mean(),
            },
        )
    _apply(nets, nets.D, nets.adam_d, nets.scaler_d)
    return sums.values


def _update_generator(
    nets: Networks,
    config: TrainConfig,
    real: Tensor,
    classes: Tensor | None,
    moment: Moment,
    fakes: list[Tensor],
) -> dict[str, Tensor]:
    """Fake logits up, for the images in `fakes`, or for the same ones made again."""
    sums = _Sums()
    nets.adam_g.zero_grad(set_to_none=True)
    kept = list(fakes) if nets.micro_batches == 1 else []
    fakes.clear()
    with frozen(nets.D):
        for part in _parts(nets, real, classes, config, moment, (_LATENTS, _FOR_G)):
            fake = kept.pop() if kept else _draw(nets, part)
            logits = judge(nets, disguise(fake, config, moment, part.noise[1]), part.classes)
            loss = GENERATOR_LOSSES[config.loss](logits)
            nets.scaler_g.scale(loss * part.share).backward()  # type: ignore[no-untyped-call]
            sums.add(part.share, {"loss/G": loss})
    _apply(nets, nets.G, nets.adam_g, nets.scaler_g)
    return sums.values


def _penalise_gradients(
    nets: Networks, config: TrainConfig, real: Tensor, classes: Tensor | None, moment: Moment, weight: float
) -> dict[str, Tensor]:
    """An update of D by `weight` times the R1 penalty at what it sees of the real images.

    In float32, since the accuracy of second derivatives in half precision is unknown, and never compiled.
    """
    sums = _Sums()
    nets.adam_d.zero_grad(set_to_none=True)
    for part in _parts(nets, real, classes, config, moment, (_FOR_R1,)):
        shown = disguise(part.real, config, moment, part.noise[0]).requires_grad_(True)
        penalty = r1_penalty(nets.D.forward(shown, part.classes), shown)
        (weight * part.share * penalty).backward()  # type: ignore[no-untyped-call]
        sums.add(part.share, {"r1": penalty})
    _apply(nets, nets.D, nets.adam_d, None)
    return sums.values


def _penalise_paths(
    nets: Networks, config: TrainConfig, real: Tensor, classes: Tensor | None, moment: Moment
) -> dict[str, Tensor]:
    """An update of G by the path-length penalty, in float32, on half a batch as in the authors' code."""
    assert isinstance(nets.G, StyleGANGenerator), "only StyleGAN has styles"
    own = config.stylegan
    sums = _Sums()
    lengths = torch.zeros((), device=nets.device)
    nets.adam_g.zero_grad(set_to_none=True)
    for part in _parts(nets, real, classes, config, moment, (_FOR_PATHS,)):
        n = max(1, len(part.real) // 2)
        noise = part.noise[0]
        z = normal((n, nets.G.z_dim), noise, nets.device)
        styles = nets.G.styles(z, None if part.classes is None else part.classes[:n], noise=noise)
        images = nets.G.synthesise(styles, noise=noise)
        grain = normal(images.shape, noise, nets.device)
        penalty, length = path_length_penalty(images, styles, grain, nets.path_mean)
        (own.path_length * own.path_length_every * part.share * penalty).backward()  # type: ignore[no-untyped-call]
        lengths += part.share * length
        sums.add(part.share, {"path_length": penalty})
    _apply(nets, nets.G, nets.adam_g, None)
    nets.path_mean.lerp_(nets.group.mean(lengths), _PATH_DECAY)
    return sums.values


class _View(NamedTuple):
    """A micro-batch, its share of this process's images, and chance for each purpose asked for."""

    real: Tensor
    classes: Tensor | None
    share: float
    noise: Sequence[Noise]


def _parts(
    nets: Networks,
    real: Tensor,
    classes: Tensor | None,
    config: TrainConfig,
    moment: Moment,
    purposes: Sequence[int],
) -> Iterator[_View]:
    """Every k-th image, for each of the k micro-batches: so the groups of the minibatch statistic stay together."""
    parts, group = nets.micro_batches, nets.group
    for number in range(parts):
        noise: list[Noise] = []
        for purpose in purposes:
            chance = source(config.seed, moment.n_images, nets.device, purpose)
            alone = parts * group.world == 1
            noise.append(chance if alone else Part(chance, group.rank + group.world * number, group.world * parts))
        yield _View(real[number::parts], None if classes is None else classes[number::parts], 1 / parts, noise)


def _draw(nets: Networks, part: _View) -> Tensor:
    noise = part.noise[0]
    return generate(nets, normal((len(part.real), nets.G.z_dim), noise, nets.device), noise, part.classes)


class _Sums:
    """Weighted sums of scalars by name."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    def add(self, weight: float, scalars: dict[str, Tensor]) -> None:
        for name, scalar in scalars.items():
            term = weight * scalar.detach()
            self.values[name] = self.values[name] + term if name in self.values else term


def _fitting(nets: Networks, real: Tensor, phase: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Run a part of the step; where memory does not suffice, halve the micro-batches and run it again.

    Several processes would have to halve together: there the error stands.
    """
    while True:
        try:
            return phase()
        except torch.OutOfMemoryError:
            smallest = len(real) // nets.micro_batches
            if nets.group.world > 1 or smallest % 2 or smallest <= 2:  # batch norm and the statistic need two
                raise
        nets.micro_batches *= 2
        nets.adam_d.zero_grad(set_to_none=True)
        nets.adam_g.zero_grad(set_to_none=True)
        if nets.device.type == "cuda":
            torch.cuda.empty_cache()


def _apply(
    nets: Networks, network: nn.Module, adam: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
) -> None:
    """One update by the gradients of all micro-batches and processes."""
    if scaler is not None and scaler.is_enabled():
        scaler.unscale_(adam)
    nets.group.average(weight.grad for weight in network.parameters() if weight.grad is not None)
    if scaler is None:
        adam.step()
    else:
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
