"""What a client may ask for: every value is checked here, before anything is generated."""

import numbers
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mammogan.errors import RequestError

MAX_IMAGES = 256
MAX_SEED = 2**32 - 1
_KEYS = ("n", "seed")
_EXAMPLE = '{"dataframe_split": {"columns": ["n", "seed"], "data": [[4, 7]]}}'


@dataclass(frozen=True)
class Request:
    """`n` images from `seed`, at `truncation` in (0, 1]."""

    n: int
    seed: int
    truncation: float


def parse(rows: Sequence[Mapping[str, Any]], truncation: Any = 1.0) -> list[Request]:
    """One Request for each row {n, seed}; without a seed (missing, null or NaN) one is drawn from the system.

    Raises:
        RequestError: a value is missing, of the wrong kind or out of range; a key is unknown; there are no
            rows; or all rows together ask for more than 256 images.
    """
    if not rows:
        raise RequestError(f"the request has no rows with n or seed; send for example {_EXAMPLE}")
    if len(rows) > MAX_IMAGES:
        raise RequestError(f"{len(rows)} rows are too many, at most {MAX_IMAGES} images go into one request")
    share = _truncation(truncation)
    requests = [_row(row, share) for row in rows]
    total = sum(request.n for request in requests)
    if total > MAX_IMAGES:
        raise RequestError(f"the rows ask for {total} images together, at most {MAX_IMAGES} go into one request")
    return requests


def _row(row: Mapping[str, Any], truncation: float) -> Request:
    if unknown := [str(key) for key in row if key not in _KEYS]:
        raise RequestError(f"unknown column {', '.join(unknown)}; known are {', '.join(_KEYS)}")
    if _is_missing(row.get("n")):
        raise RequestError(f"n is missing: say how many images you want, for example {_EXAMPLE}")
    seed = row.get("seed")
    return Request(
        n=_whole("n", row["n"], 1, MAX_IMAGES),
        seed=secrets.randbelow(MAX_SEED + 1) if _is_missing(seed) else _whole("seed", seed, 0, MAX_SEED),
        truncation=truncation,
    )


def _is_missing(value: Any) -> bool:
    return value is None or (_is_number(value) and bool(value != value))  # NaN alone differs from itself


def _whole(name: str, value: Any, low: int, high: int) -> int:
    # Bounds before int(), which fails on infinity. A column of whole numbers and nulls arrives as floats.
    if not _is_number(value) or (low <= value <= high and value != int(value)):
        raise RequestError(f"{name} must be a whole number from {low} to {high}, got {_shown(value)}")
    if not low <= value <= high:
        raise RequestError(f"{name} must be from {low} to {high}, got {_shown(value)}")
    return int(value)


def _truncation(value: Any) -> float:
    if not _is_number(value) or not 0 < value <= 1:
        raise RequestError(f"truncation must be a number above 0 and at most 1, got {_shown(value)}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value)
    return text if len(text) <= 40 else text[:37] + "..."
