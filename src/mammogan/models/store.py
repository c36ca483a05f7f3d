"""A generator on disk: weights as safetensors, and in its header all that is needed to build it again."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from mammogan import __version__, atomic
from mammogan.config import DCGANConfig, StyleGANConfig, TrainConfig
from mammogan.errors import DataError, TrainingError
from mammogan.models import build_generator
from mammogan.models.generator import Generator

_KEY = "mammogan"
_SECTIONS: dict[str, type[DCGANConfig] | type[StyleGANConfig]] = {"dcgan": DCGANConfig, "stylegan": StyleGANConfig}


def save(path: Path, G: Generator, config: TrainConfig, resolution: int, extra: Mapping[str, str] | None = None) -> str:
    """Write the generator, whole or not at all; the same weights give the same bytes.

    The header holds model, architecture, resolution, grey depth, version of mammogan and `extra`. Returns the sha256 of
    the file.
    """
    architecture = config.dcgan if config.model == "dcgan" else config.stylegan
    header = {
        "model": config.model,
        "architecture": architecture.model_dump(),
        "resolution": resolution,
        "bits": G.bits,
        "version": __version__,
        "extra": dict(extra or {}),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in G.state_dict().items()}
    # One key only: safetensors writes several in random order.
    payload = to_bytes(tensors, metadata={_KEY: json.dumps(header, sort_keys=True)})
    with atomic.new_file(path) as partial:
        partial.write_bytes(payload)
    return hashlib.sha256(payload).hexdigest()


def load(path: Path) -> Generator:
    """The generator written by `save`, on the CPU and in eval mode.

    Raises:
        DataError: the file is missing, damaged, or no generator of mammogan.
    """
    mend = "train again, or `dvc checkout` the file"
    if not path.is_file():
        raise DataError(f"{path} is missing; {mend}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if _KEY not in metadata:
            raise DataError(f"{path} holds no generator of mammogan (its header has no '{_KEY}'); {mend}")
        header = json.loads(metadata[_KEY])
        architecture = _SECTIONS[header["model"]].model_validate(header["architecture"])
        G = build_generator(architecture, header["resolution"])
        G.bits = _bits(header)
        G.load_state_dict(load_file(path))
    except (SafetensorError, OSError, KeyError, ValueError, ValidationError, TrainingError, RuntimeError) as err:
        raise DataError(f"{path} is damaged or from another version ({_first_line(err)}); {mend}") from err
    return G.eval()


def _bits(header: Mapping[str, Any]) -> int:
    bits = header.get("bits", 8)  # generators of before 16 bits were an option do not say
    if bits not in (8, 16):
        raise ValueError(f"its images have {bits} bits, expected 8 or 16")
    return int(bits)


def _first_line(err: Exception) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]
