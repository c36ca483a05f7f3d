"""Download a public set of mammograms through Kaggle's official client, an optional extra.

Written against the calls of the client's version 2.2.4, and tested against a stand-in with the same signatures; it has
not been run against the service itself, which wants an account.
"""

import contextlib
import difflib
import errno
import importlib
import io
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from tqdm import tqdm

from mammogan.errors import DataError

ABOUT_FILE = "SOURCE.md"
NO_CLIENT = "Kaggle's client is not installed; in the root of the checkout run `pip install -e .[kaggle]`"


@dataclass(frozen=True)
class KaggleSet:
    """A set at Kaggle: its address, whose terms hold, and what is known of its size."""

    slug: str
    kind: Literal["dataset", "competition"]
    terms: str
    size: str

    @property
    def url(self) -> str:
        """The page on which the terms are read and accepted."""
        return f"https://www.kaggle.com/{self.kind}s/{self.slug}"


SETS = {
    "rsna-roi": KaggleSet(
        "quachnam/rsna-roi-mammography",
        "dataset",
        "Cut from the RSNA competition's images: non-commercial use only, no attempt to identify anyone, not to be "
        "passed on. Its page may say more.",
        "not known; the client shows it",
    ),
    "rsna": KaggleSet(
        "rsna-breast-cancer-detection",
        "competition",
        "The RSNA competition's rules: non-commercial use only, no attempt to identify anyone, not to be passed on.",
        "54,706 DICOM files of about 1.7 to 9.7 MB",
    ),
    "cbis-ddsm": KaggleSet(
        "awsaf49/cbis-ddsm-breast-cancer-image-dataset",
        "dataset",
        "CBIS-DDSM is CC BY 3.0: name its authors. Its page may say more.",
        "not known; the client shows it",
    ),
}


class KaggleClient(Protocol):
    """The part of `kaggle.api.kaggle_api_extended.KaggleApi` that is used here."""

    def authenticate(self) -> None:
        """Read the credentials; `SystemExit` where there are none."""

    def dataset_download_files(
        self, dataset: str, path: str | None, force: bool, quiet: bool, unzip: bool, licenses: list[str]
    ) -> None:
        """Write the dataset's archive to `path`, going on where an interrupted download stopped."""

    def competition_download_files(self, competition: str, path: str | None, force: bool, quiet: bool) -> None:
        """Write the competition's archive to `path`, going on where an interrupted download stopped."""


def kaggle_client() -> KaggleClient:
    """The official client, not yet authenticated.

    Raises:
        DataError: it is not installed.
    """
    try:
        # importing it authenticates already, and prints its help where that fails
        with contextlib.redirect_stdout(io.StringIO()):
            module = importlib.import_module("kaggle.api.kaggle_api_extended")
    except ImportError:
        raise DataError(NO_CLIENT) from None
    client: KaggleClient = module.KaggleApi()
    return client


def fetch(name: str, out: Path, connect: Callable[[], KaggleClient] = kaggle_client) -> int:
    """Download the set `name` of `SETS` and unpack it to `out`; the number of files that `out` then holds.

    Archive and files stand in a hidden folder beside `out` until all is there; only then does `out` appear. A call
    after an interruption goes on with the download, and unpacks afresh. A call after a complete one does nothing. Where
    the archive holds nothing but one folder, `out` gets the content of that folder; and a SOURCE.md with the terms,
    where it brings none. Unpacking needs room for archive and files together.

    Raises:
        DataError: the name is unknown, `out` holds something, there are no credentials, the service refuses or cannot
            be reached, the archive is damaged, or the disk is full or refuses. `out` is left as it was.
    """
    kaggle_set = _named(name)
    about = _about(name, kaggle_set)
    if (out / ABOUT_FILE).is_file() and (out / ABOUT_FILE).read_text(encoding="utf-8", errors="replace") == about:
        return _count(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} holds something already, which would be lost; give a new or empty folder")
    client = connect()
    _authenticate(kaggle_set, client)

    work = out.parent / f".{out.name}.{name}.fetching"
    archives, unpacked = work / "archive", work / "files"
    try:
        archives.mkdir(parents=True, exist_ok=True)
        _download(kaggle_set, archives, client)
        shutil.rmtree(unpacked, ignore_errors=True)
        _unpack(archives, unpacked)
        content = _without_outer_folder(unpacked)
        if not (content / ABOUT_FILE).exists():
            (content / ABOUT_FILE).write_text(about, encoding="utf-8", newline="\n")
        if out.exists():
            out.rmdir()
        content.replace(out)
    except OSError as err:
        if err.errno != errno.ENOSPC:
            raise DataError(f"cannot write {err.filename or work}: {err.strerror}; run again, it goes on") from None
        raise DataError(f"disk full while writing {work}; free some space and run again, it goes on") from None
    shutil.rmtree(work)
    return _count(out)


def _named(name: str) -> KaggleSet:
    if name in SETS:
        return SETS[name]
    near = difflib.get_close_matches(name, SETS, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(SETS)}"
    raise DataError(f"no set is called '{name}'; {hint}")


def _authenticate(kaggle_set: KaggleSet, client: KaggleClient) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            client.authenticate()
    except SystemExit:
        raise DataError(
            "Kaggle knows no valid credentials of yours:\n"
            "  1. log in at kaggle.com and create a token: https://www.kaggle.com/settings/api, Generate New Token\n"
            "  2. save it as ~/.kaggle/access_token (Windows: %USERPROFILE%\\.kaggle\\access_token),\n"
            "     or set the environment variable KAGGLE_API_TOKEN to it; an older kaggle.json in ~/.kaggle,\n"
            "     or KAGGLE_USERNAME and KAGGLE_KEY, will do too\n"
            f"  3. accept the terms of the data at {kaggle_set.url}\n"
            "Then run this again."
        ) from None
    except Exception as err:
        raise _explained(err, kaggle_set) from None


def _download(kaggle_set: KaggleSet, folder: Path, client: KaggleClient) -> None:
    try:
        if kaggle_set.kind == "dataset":
            client.dataset_download_files(
                kaggle_set.slug, path=str(folder), force=False, quiet=False, unzip=False, licenses=[]
            )
        else:
            client.competition_download_files(kaggle_set.slug, path=str(folder), force=False, quiet=False)
    except OSError as err:
        if err.errno == errno.ENOSPC or err.filename is not None:
            raise  # the disk's, not the service's
        raise _explained(err, kaggle_set) from None
    except (Exception, SystemExit) as err:  # the client raises whatever it likes
        raise _explained(err, kaggle_set) from None


def _explained(err: BaseException, kaggle_set: KaggleSet) -> DataError:
    """What a failed request means. The client's own words are left out: they may quote addresses and tokens."""
    status = getattr(getattr(err, "response", None), "status_code", None)
    if status == 401:
        why = "it does not accept your credentials (401); create a new token at https://www.kaggle.com/settings/api"
    elif status == 403:
        why = f"access is denied (403); log in, open {kaggle_set.url} and accept its terms or rules"
    elif status == 404:
        why = f"it is not there (404): moved, renamed or withdrawn; look at {kaggle_set.url}"
    elif status == 429:
        why = "it asks for patience (429); wait some minutes and run again, the download goes on"
    elif status is not None:
        why = f"it answers with an error ({status}); run again later, the download goes on"
    else:
        why = f"the connection failed ({type(err).__name__}); check network and proxy and run again, it goes on"
    return DataError(f"Kaggle does not give {kaggle_set.slug}: {why}")


def _unpack(archives: Path, folder: Path) -> None:
    found = [path for path in sorted(archives.iterdir()) if path.suffix == ".zip"]
    if not found:
        raise DataError(f"Kaggle's client left no .zip archive in {archives}; look there, or remove it and run again")
    for path in found:
        try:
            with zipfile.ZipFile(path) as archive:
                for member in tqdm(archive.infolist(), desc="unpack", unit="file", mininterval=1):
                    archive.extract(member, folder)  # drops drive letters, leading slashes and ".."
        except (zipfile.BadZipFile, EOFError, zlib.error):
            path.unlink()
            raise DataError(f"the archive {path.name} was damaged and has been removed; run again") from None


def _without_outer_folder(folder: Path) -> Path:
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*") if path != folder / ABOUT_FILE)


def _about(name: str, kaggle_set: KaggleSet) -> str:
    return (
        f"# {name}: fetched from Kaggle\n\n"
        f"Source: {kaggle_set.url}\n\n"
        f"Terms: {kaggle_set.terms} The page has the full text, which alone counts.\n"
    )
