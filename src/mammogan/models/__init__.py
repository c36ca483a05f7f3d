"""Generators and discriminators, one file a paper, and what is done with a trained generator."""

from torch import nn

from mammogan.config import DCGANConfig, StyleGANConfig, TrainConfig
from mammogan.errors import TrainingError
from mammogan.models.dcgan import DCGANDiscriminator, DCGANGenerator
from mammogan.models.generator import Classes, Generator
from mammogan.models.stylegan import Growth, StyleGANDiscriminator, StyleGANGenerator

__all__ = ["Classes", "Generator", "Growth", "build", "build_generator"]

_RESOLUTIONS = (32, 64, 128, 256, 512)


def build(config: TrainConfig, resolution: int, classes: Classes | None = None) -> tuple[Generator, nn.Module]:
    """G and D of `config.model` for square one-channel images of `resolution` px, with fresh random weights.

    With `classes` both are conditional on them.

    Raises:
        TrainingError: no network is defined for this resolution.
    """
    G = build_generator(config.architecture, resolution, classes)
    if config.model == "dcgan":
        return G, DCGANDiscriminator(config.dcgan, resolution, classes)
    return G, StyleGANDiscriminator(config.stylegan, resolution, classes)


def build_generator(
    architecture: DCGANConfig | StyleGANConfig, resolution: int, classes: Classes | None = None
) -> Generator:
    """G alone, with fresh random weights.

    Raises:
        TrainingError: no network is defined for this resolution.
    """
    if resolution not in _RESOLUTIONS:
        raise TrainingError(
            f"no network for images of {resolution} px; set prepare.resolution to one of "
            f"{', '.join(map(str, _RESOLUTIONS))} and run `mammogan prepare` again"
        )
    if isinstance(architecture, DCGANConfig):
        return DCGANGenerator(architecture, resolution, classes)
    return StyleGANGenerator(architecture, resolution, classes)
