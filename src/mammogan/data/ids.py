"""Ids that say nothing: keyed hashes of the ids of patients and images, and the key, which stays with the user.

Without the key nobody can try out patient numbers until a hash fits; with the same key the same patient keeps her hash
in every run.
"""

import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path

from filelock import FileLock

from mammogan.atomic import new_file
from mammogan.errors import DataError

KEY_VARIABLE = "MAMMOGAN_ID_KEY"

_KEY_BYTES = 32
_HEX_DIGITS = 16


def keyed(key: bytes, kind: str, value: str) -> str:
    """The id that stands for `value`: the first 16 hex digits of HMAC-SHA256(key, kind, NUL, value), UTF-8.

    `kind` (such as `patient`, without NUL) keeps a patient and an image of the same number apart. Of a million ids two
    share a hash with a probability of 3e-8.
    """
    message = f"{kind}\0{value}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:_HEX_DIGITS]


def load_key(path: Path | None = None, checkout: Path | None = None) -> bytes:
    r"""The 32 bytes of the key in the file `path`, or else in the user's own file; made at random on first use.

    The user's own file is the one that the environment variable MAMMOGAN_ID_KEY names, else ~/.config/mammogan/id.key,
    on Windows %APPDATA%\mammogan\id.key. It holds 64 hex digits and is readable by its owner alone. Processes that
    start at the same time get the same key.

    Raises:
        DataError: the file is inside `checkout`, from where it could be committed; it is damaged; or it can be neither
            read nor written.
    """
    path = _own_file() if path is None else path
    if checkout is not None and path.resolve().is_relative_to(checkout.resolve()):
        raise DataError(
            f"the id key {path} is inside the checkout and could be committed; move it out and set {KEY_VARIABLE}"
        )
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as err:
        raise DataError(
            f"the id key {path} can be neither read nor made ({err.strerror}); set {KEY_VARIABLE} to a file of yours"
        ) from None


def _own_file() -> Path:
    named = os.environ.get(KEY_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "mammogan" / "id.key"
    return Path.home() / ".config" / "mammogan" / "id.key"


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return  # another process was faster
        text = f"{secrets.token_bytes(_KEY_BYTES).hex()}\n"
        with new_file(path) as partial, open(partial, "w", opener=_for_owner_alone, encoding="ascii") as file:
            file.write(text)


def _for_owner_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read(path: Path) -> bytes:
    damaged = DataError(
        f"the id key {path} is damaged: it must hold {2 * _KEY_BYTES} hex digits; restore it, for a new one gives "
        "every patient and image another id"
    )
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        raise damaged from None
    if len(key) != _KEY_BYTES:
        raise damaged
    return key
