"""Where a result comes from: git commit, DVC hash of the raw data, fingerprint of the code that shapes results."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

# The code that decides what a trial measures; dvc.yaml names the same folders and files as dependencies.
RESULT_AREAS = ("data", "models", "training", "evaluation")
RESULT_FILES = ("run.py", "serving/sample.py")


@dataclass(frozen=True)
class Provenance:
    """What every run and every served image can be traced back to."""

    git_commit: str  # "<sha>", "<sha>+changes" or "unknown"
    data_md5: str  # DVC's hash of data/, "unknown" when data.dvc is missing
    code_sha256: str  # of the sources that shape results


def provenance(root: Path) -> Provenance:
    """Look up the provenance of the checkout at `root`."""
    return Provenance(git_commit(root), data_md5(root), code_sha256())


def git_commit(root: Path) -> str:
    """The commit of the checkout, marked `+changes` when tracked sources or settings differ from it."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "src", "params.yaml", "dvc.yaml")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changed else head


def data_md5(root: Path) -> str:
    """DVC's hash of the raw data, as data.dvc records it."""
    try:
        with (root / "data.dvc").open(encoding="utf-8") as file:
            return str(YAML(typ="safe").load(file)["outs"][0]["md5"])
    except (OSError, KeyError, IndexError, TypeError, YAMLError):
        return "unknown"


def code_sha256() -> str:
    """Hash of the sources in RESULT_AREAS and RESULT_FILES, blind to the platform's line ends."""
    package = Path(__file__).parent
    sources = [source for area in RESULT_AREAS for source in sorted((package / area).rglob("*.py"))]
    sources += [package / name for name in RESULT_FILES]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.relative_to(package).as_posix()}\0".encode())
        digest.update(source.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def fingerprint(*parts: object) -> str:
    """Eight hexadecimal digits that change with any of `parts`, compared as text."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:8]
