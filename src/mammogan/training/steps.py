"""One update of D and one of G, the two halves of a training step."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mammogan.config import TrainConfig
from mammogan.models import Generator, build
from mammogan.models.generator import normal
from mammogan.training.losses import GENERATOR_LOSSES, discriminator_loss, r1_penalty
from mammogan.training.precision import Precision, autocast, memory_format

# DCGAN: Radford et al. 2016, section 4; StyleGAN: Karras et al. 2018, appendix A.1.
_BETAS = {"dcgan": (0.5, 0.999), "stylegan": (0.0, 0.99)}


@dataclass
class Networks:
    """G and D, each with its optimiser, on one device in one number format."""

    G: Generator
    D: nn.Module
    adam_g: torch.optim.Optimizer
    adam_d: torch.optim.Optimizer
    device: torch.device
    precision: Precision


def new_networks(config: TrainConfig, resolution: int, device: torch.device, precision: Precision) -> Networks:
    """Networks with the initial weights that belong to `config.seed`; global random states are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        G, D = build(config, resolution)
    layout = memory_format(precision)
    G.to(device, memory_format=layout)  # type: ignore[call-overload]
    D.to(device, memory_format=layout)  # type: ignore[call-overload]
    betas, fused = _BETAS[config.model], device.type != "meta"  # meta: shapes alone, for counting
    adam_g = torch.optim.Adam(G.parameters(), lr=config.lr, betas=betas, fused=fused)
    adam_d = torch.optim.Adam(D.parameters(), lr=config.lr, betas=betas, fused=fused)
    return Networks(G, D, adam_g, adam_d, device, precision)


def generate(nets: Networks, z: Tensor, noise: torch.Generator | None) -> Tensor:
    """Latents (N, z_dim) -> float32 images (N, 1, R, R) with the graph for G's update."""
    with autocast(nets.device, nets.precision):
        images: Tensor = nets.G(z, noise=noise)
    return images.float()


def add_noise(images: Tensor, std: float, chance: torch.Generator) -> Tensor:
    """Gaussian instance noise on images (N, 1, R, R) that D is about to see (Sønderby et al. 2017, arXiv:1610.04490).

    Without it D tells the flat black background of a mammogram at once, and G learns nothing.
    """
    return images + std * normal(images.shape, chance, images.device) if std else images


def update_discriminator(nets: Networks, real: Tensor, fake: Tensor, r1_weight: float = 0.0) -> dict[str, Tensor]:
    """Real logits up, fake logits down; images (N, 1, R, R) float32, `fake` without a graph.

    `r1_weight` times the R1 penalty joins the loss; D then sees the real images in float32, since the accuracy of
    second derivatives in bf16 is unknown. Returns scalars: loss/D, logits/real, logits/fake and, with R1, r1.
    """
    nets.adam_d.zero_grad(set_to_none=True)
    real = real.requires_grad_(r1_weight > 0)
    with autocast(nets.device, "fp32" if r1_weight else nets.precision):
        real_logits = nets.D(real).float()
    with autocast(nets.device, nets.precision):
        fake_logits = nets.D(fake).float()
    loss = discriminator_loss(real_logits, fake_logits)
    seen = {"loss/D": loss, "logits/real": real_logits.mean(), "logits/fake": fake_logits.mean()}
    if r1_weight:
        seen["r1"] = r1_penalty(real_logits, real)
        loss = loss + r1_weight * seen["r1"]
    loss.backward()  # type: ignore[no-untyped-call]
    nets.adam_d.step()
    return {name: value.detach() for name, value in seen.items()}


def update_generator(nets: Networks, fake: Tensor, loss: str) -> dict[str, Tensor]:
    """Fake logits up; images (N, 1, R, R) float32 with their graph, `loss` a key of GENERATOR_LOSSES."""
    nets.adam_g.zero_grad(set_to_none=True)
    nets.D.requires_grad_(False)  # its gradients would be thrown away
    with autocast(nets.device, nets.precision):
        logits = nets.D(fake).float()
    value = GENERATOR_LOSSES[loss](logits)
    value.backward()  # type: ignore[no-untyped-call]
    nets.adam_g.step()
    nets.D.requires_grad_(True)
    return {"loss/G": value.detach()}
