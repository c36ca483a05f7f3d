"""Networks on disk: weights as safetensors, and in their header all that is needed to build them again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from mammogan import __version__, atomic
from mammogan.config import DCGANConfig, StyleGANConfig, TrainConfig
from mammogan.errors import DataError, TrainingError
from mammogan.models import Classes, Generator, Growth, build_generator
from mammogan.models.stylegan import StyleGANGenerator

_KEY = "mammogan"
_MEND = "train again, or `dvc checkout` the file"
_SECTIONS: dict[str, type[DCGANConfig] | type[StyleGANConfig]] = {"dcgan": DCGANConfig, "stylegan": StyleGANConfig}
_UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError, ValidationError, TrainingError, RuntimeError)


def save(path: Path, G: Generator, config: TrainConfig, resolution: int, extra: Mapping[str, str] | None = None) -> str:
    """Write the generator, whole or not at all; the same weights give the same bytes.

    The header holds model, architecture, resolution, classes, how far it has grown, grey depth, version of mammogan
    and `extra`. Returns the sha256 of the file.
    """
    growth = G.growth if isinstance(G, StyleGANGenerator) else None
    header = _header("generator", config, resolution, G.classes)
    header |= {"growth": growth and growth._asdict(), "bits": G.bits, "extra": dict(extra or {})}
    return _write(path, G, header)


def save_discriminator(path: Path, D: nn.Module, config: TrainConfig, resolution: int, classes: Classes | None) -> str:
    """Write a discriminator, from which another run may start, as `save` does; returns the sha256 of the file."""
    return _write(path, D, _header("discriminator", config, resolution, classes))


def load(path: Path) -> Generator:
    """The generator written by `save`, on the CPU and in eval mode.

    Raises:
        DataError: the file is missing, damaged, from another version, or holds no generator of mammogan.
    """
    header, tensors = read(path)
    try:
        if header["network"] != "generator":
            raise ValueError(f"it holds a {header['network']}, expected a generator")
        architecture = _SECTIONS[header["model"]].model_validate(header["architecture"])
        G = build_generator(architecture, header["resolution"], _classes(header))
        G.bits = _bits(header)
        if header["growth"]:
            assert isinstance(G, StyleGANGenerator), "no other network grows"
            G.growth = Growth(**header["growth"])
        G.load_state_dict(tensors)
    except _UNREADABLE as err:
        raise _damaged(path, err) from err
    return G.eval()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and weights of a file written by `save` or `save_discriminator`, of whatever version and shapes.

    Raises:
        DataError: the file is missing, damaged, or holds no network of mammogan.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; {_MEND}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if _KEY not in metadata:
            raise DataError(f"{path} holds no network of mammogan (its header has no '{_KEY}'); {_MEND}")
        return dict(json.loads(metadata[_KEY])), load_file(path)
    except _UNREADABLE as err:
        raise _damaged(path, err) from err


def _header(network: str, config: TrainConfig, resolution: int, classes: Classes | None) -> dict[str, Any]:
    return {
        "network": network,
        "model": config.model,
        "architecture": config.architecture.model_dump(),
        "resolution": resolution,
        "classes": asdict(classes) if classes else None,
        "version": __version__,
    }


def _write(path: Path, network: nn.Module, header: Mapping[str, Any]) -> str:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    # One key only: safetensors writes several in random order.
    payload = to_bytes(tensors, metadata={_KEY: json.dumps(header, sort_keys=True)})
    with atomic.new_file(path) as partial:
        partial.write_bytes(payload)
    return hashlib.sha256(payload).hexdigest()


def _classes(header: Mapping[str, Any]) -> Classes | None:
    kept = header["classes"]
    return Classes(kept["label"], tuple(kept["values"]), tuple(kept["shares"])) if kept else None


def _bits(header: Mapping[str, Any]) -> int:
    bits = header["bits"]
    if bits not in (8, 16):
        raise ValueError(f"its images have {bits} bits, expected 8 or 16")
    return int(bits)


def _damaged(path: Path, err: Exception) -> DataError:
    reason = (str(err).splitlines() or [type(err).__name__])[0]
    return DataError(f"{path} is damaged or from another version ({reason}); {_MEND}")
