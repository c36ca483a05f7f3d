"""Checkpoints: whole or absent, checked by hash, good only for the run that wrote them.

A folder holds the last two states of a run, by which it goes on, and the state of its best evaluation.
"""

import hashlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mammogan import atomic

_KEPT = 2
_BEST = "best.state"
_log = logging.getLogger(__name__)


def save(folder: Path, n_images: int, state: Mapping[str, Any], identity: str) -> None:
    """Write the state after `n_images`, whole or not at all, and remove all but the last two.

    A full disk is a warning: the run can go on and the earlier checkpoint stays.
    """
    if _write(folder / f"{n_images:09d}.pt", n_images, state, identity):
        for old in _newest_first(folder)[_KEPT:]:
            old.unlink()


def save_best(folder: Path, n_images: int, state: Mapping[str, Any], identity: str) -> bool:
    """Write the state of the best evaluation so far in place of the one before; whether it could be written."""
    return _write(folder / _BEST, n_images, state, identity)


def load_best(folder: Path, identity: str) -> dict[str, Any] | None:
    """The state of the best evaluation, or None where there is none that is sound and of this run."""
    path = folder / _BEST
    content = _read(path) if path.exists() else None
    if content is None or content["identity"] != identity:
        return None
    state: dict[str, Any] = content["state"]
    return state


def load(folder: Path, identity: str) -> dict[str, Any] | None:
    """The newest sound state in `folder`, on the CPU, or None where there is none.

    A damaged file is skipped for the one before. Files of another run (other configuration or data) are removed,
    so that they cannot outlive newer ones. Both are said in a warning.
    """
    for path in _newest_first(folder):
        content = _read(path)
        if content is None:
            _log.warning("%s is damaged and is skipped", path)
        elif content["identity"] != identity:
            _log.warning("%s belongs to another configuration or other data: training starts afresh", path)
            for other in _newest_first(folder):
                other.unlink()
            return None
        else:
            state: dict[str, Any] = content["state"]
            return state
    return None


def _write(path: Path, n_images: int, state: Mapping[str, Any], identity: str) -> bool:
    buffer = io.BytesIO()
    torch.save({"identity": identity, "state": dict(state)}, buffer)
    payload = buffer.getbuffer()
    try:
        with atomic.new_file(path) as partial, partial.open("wb") as file:
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
    except OSError as err:
        _log.warning("no checkpoint after %d images: %s; the one before stays", n_images, err)
        return False
    return True


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pt"), reverse=True)


def _read(path: Path) -> dict[str, Any] | None:
    raw = path.read_bytes()
    digest, payload = raw[:32], raw[32:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return content
