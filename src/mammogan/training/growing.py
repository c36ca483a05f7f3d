"""The schedule of progressive growing: which size is trained when (Karras et al. 2018, arXiv:1710.10196, section 2)."""

from torch import Tensor
from torch.nn import functional as F

from mammogan.config import StyleGANConfig
from mammogan.errors import TrainingError
from mammogan.models.stylegan import Growth


def growth_after(n_images: int, config: StyleGANConfig, resolution: int) -> Growth | None:
    """Size and fade after `n_images`: each size rests and then fades into the next, `grow_kimg` each.

    None once the networks are full grown, or where they do not grow. At the last size there is no further fade.
    """
    if config.grow_from is None:
        return None
    phase, into = divmod(n_images / (config.grow_kimg * 1000), 1)
    size = config.grow_from * 2 ** (int(phase) // 2)
    if size >= resolution:
        return None
    return Growth(2 * size, into) if int(phase) % 2 else Growth(size, 1.0)


def check_growth(config: StyleGANConfig, resolution: int, n_images: int) -> None:
    """Refuse a schedule that a run of `n_images` real images does not finish.

    Raises:
        TrainingError: it starts at the full size, or the run ends before the networks are full grown.
    """
    if config.grow_from is None:
        return
    if config.grow_from >= resolution:
        raise TrainingError(
            f"train.stylegan.grow_from is {config.grow_from} px and the images have {resolution} px; start smaller, "
            "or set it to null"
        )
    doublings = (resolution // config.grow_from).bit_length() - 1
    needed = 2 * doublings * config.grow_kimg * 1000
    if n_images <= needed:
        raise TrainingError(
            f"growing from {config.grow_from} to {resolution} px takes {needed / 1000:g} thousand images and the run "
            f"has {n_images / 1000:g}; lower train.stylegan.grow_kimg (to less than "
            f"{n_images / 2000 / doublings:.3g}), or train longer"
        )


def shrunk(real: Tensor, growth: Growth | None) -> Tensor:
    """Real images (N, 1, R, R) as networks of that growth see them, (N, 1, size, size), faded in as they are."""
    if growth is None:
        return real
    images = F.interpolate(real, size=(growth.size, growth.size), mode="area")
    if growth.alpha < 1:
        coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="nearest")
        images = coarse.lerp(images, growth.alpha)
    return images
