"""`fetch` against a stand-in for Kaggle's client; the service itself wants an account."""

import errno
import importlib
import inspect
import io
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mammogan.data.fetch import SETS, fetch, kaggle_client
from mammogan.errors import DataError

# `inspect.signature` of KaggleApi in kaggle 2.2.4
REAL_SIGNATURES = {
    "authenticate": "(self) -> None",
    "dataset_download_files": (
        "(self, dataset, path=None, force=False, quiet=True, unzip=False, licenses=[])"  # without types
    ),
    "competition_download_files": "(self, competition, path=None, force=False, quiet=True) -> None",
}
FILES = {"description.csv": b"Image_id,Path_save\n1,images/1.png\n", "images/1.png": b"a picture"}


class HTTPError(OSError):
    """Like requests' own: an OSError without errno that carries the response."""

    def __init__(self, status: int):
        super().__init__("https://signed.example/?token=secret")
        self.response = SimpleNamespace(status_code=status)


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


class Client:
    """Serves one archive, whole or, with `breaks`, cut off by that error; goes on where the archive was cut off."""

    def __init__(self, files: dict[str, bytes] = FILES, breaks: BaseException | None = None, known: bool = True):
        self.archive, self.breaks, self.known = zipped(files), breaks, known
        self.calls: list[str] = []
        self.sent = 0

    def authenticate(self) -> None:
        if not self.known:
            print("Authentication required to call the Kaggle API.")
            sys.exit(1)

    def dataset_download_files(self, dataset, path=None, force=False, quiet=True, unzip=False, licenses=[]):  # noqa: B006
        assert (force, quiet, unzip) == (False, False, False)
        self._send(dataset, Path(path) / (dataset.split("/")[1] + ".zip"))

    def competition_download_files(self, competition, path=None, force=False, quiet=True) -> None:
        assert (force, quiet) == (False, False)
        self._send(competition, Path(path) / f"{competition}.zip")

    def _send(self, slug: str, file: Path) -> None:
        self.calls.append(slug)
        there = file.read_bytes() if file.exists() else b""
        rest = self.archive[len(there) :]
        breaks, self.breaks = self.breaks, None
        self.sent = len(rest) // 2 if breaks else len(rest)
        file.write_bytes(there + rest[: self.sent])
        if breaks:
            raise breaks


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_the_stand_in_has_the_signatures_of_the_real_client():
    for name, signature in REAL_SIGNATURES.items():
        assert str(inspect.signature(getattr(Client, name))) == signature


@pytest.mark.slow
def test_the_installed_client_has_them_too(monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))  # importing the client makes that folder
    real = pytest.importorskip("kaggle.api.kaggle_api_extended", reason="kaggle is an optional extra")
    for name, signature in REAL_SIGNATURES.items():
        parameters = inspect.signature(getattr(real.KaggleApi, name)).parameters
        assert list(parameters) == list(inspect.signature(getattr(Client, name)).parameters), signature


@pytest.mark.parametrize(("name", "slug"), [(name, kaggle_set.slug) for name, kaggle_set in SETS.items()])
def test_a_set_arrives_whole_with_its_terms(tmp_path, name, slug):
    client = Client()
    assert fetch(name, tmp_path / "data", lambda: client) == 2
    assert client.calls == [slug]
    found = content(tmp_path / "data")
    about = found.pop("SOURCE.md").decode()
    assert found == FILES
    assert SETS[name].url in about
    assert SETS[name].terms in about
    assert leftovers(tmp_path) == []


def test_the_rsna_competition_is_asked_for_as_a_competition():
    assert SETS["rsna"].url == "https://www.kaggle.com/competitions/rsna-breast-cancer-detection"
    assert SETS["rsna-roi"].url == "https://www.kaggle.com/datasets/quachnam/rsna-roi-mammography"


def test_an_outer_folder_of_the_archive_is_taken_off(tmp_path):
    fetch(
        "rsna-roi", tmp_path / "data", lambda: Client({f"RSNA-ROI-Mammography/{name}": FILES[name] for name in FILES})
    )
    assert set(content(tmp_path / "data")) == {*FILES, "SOURCE.md"}


def test_a_source_note_of_the_archive_is_kept(tmp_path):
    fetch("rsna-roi", tmp_path / "data", lambda: Client({**FILES, "SOURCE.md": b"theirs"}))
    assert content(tmp_path / "data")["SOURCE.md"] == b"theirs"


def test_an_empty_folder_may_stand_at_the_place(tmp_path):
    (tmp_path / "data").mkdir()
    assert fetch("rsna-roi", tmp_path / "data", lambda: Client()) == 2


def test_other_data_is_never_replaced(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text("precious")
    client = Client()
    with pytest.raises(DataError, match="holds something already, which would be lost; give a new or empty folder"):
        fetch("rsna-roi", tmp_path / "data", lambda: client)
    assert content(tmp_path / "data") == {"mine.csv": b"precious"}
    assert client.calls == []
    (tmp_path / "file").write_text("precious")
    with pytest.raises(DataError, match="holds something already"):
        fetch("rsna-roi", tmp_path / "file", lambda: client)


def test_a_second_call_after_a_complete_one_does_nothing(tmp_path):
    fetch("rsna-roi", tmp_path / "data", lambda: Client())
    client = Client()
    assert fetch("rsna-roi", tmp_path / "data", lambda: client) == 2
    assert client.calls == []
    with pytest.raises(DataError, match="holds something already"):
        fetch("cbis-ddsm", tmp_path / "data", lambda: client)


@pytest.mark.parametrize("breaks", [ConnectionError("reset"), KeyboardInterrupt()])
def test_an_interrupted_download_is_not_complete_and_goes_on(tmp_path, breaks):
    client = Client(breaks=breaks)
    with pytest.raises((DataError, KeyboardInterrupt)):
        fetch("rsna-roi", tmp_path / "data", lambda: client)
    assert not (tmp_path / "data").exists()
    assert leftovers(tmp_path) == [".data.rsna-roi.fetching"]
    assert fetch("rsna-roi", tmp_path / "data", lambda: client) == 2
    assert client.sent < len(client.archive)  # only the rest was sent
    assert leftovers(tmp_path) == []


def test_what_an_interrupted_unpacking_left_is_cleared(tmp_path):
    half = tmp_path / ".data.rsna-roi.fetching" / "files"
    half.mkdir(parents=True)
    (half / "torn.png").write_text("half")
    fetch("rsna-roi", tmp_path / "data", lambda: Client())
    assert set(content(tmp_path / "data")) == {*FILES, "SOURCE.md"}


def test_a_damaged_archive_is_removed_so_that_the_next_call_loads_it_afresh(tmp_path):
    client = Client()
    good, client.archive = client.archive, b"no archive at all"
    with pytest.raises(DataError, match=r"rsna-roi-mammography.zip was damaged and has been removed; run again"):
        fetch("rsna-roi", tmp_path / "data", lambda: client)
    client.archive = good[:60] + b"XXXX" + good[64:]
    with pytest.raises(DataError, match="was damaged"):
        fetch("rsna-roi", tmp_path / "data", lambda: client)
    assert not (tmp_path / "data").exists()
    client.archive = good
    assert fetch("rsna-roi", tmp_path / "data", lambda: client) == 2


def test_a_file_of_the_archive_cannot_leave_the_folder(tmp_path):
    fetch("rsna-roi", tmp_path / "in" / "data", lambda: Client({**FILES, "../../outside.txt": b"!", "/root.txt": b"!"}))
    assert not list(tmp_path.glob("outside.txt")) + list((tmp_path / "in").glob("outside.txt"))
    assert (tmp_path / "in" / "data" / "outside.txt").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (HTTPError(401), r"does not accept your credentials \(401\); create a new token"),
        (HTTPError(403), r"access is denied \(403\); log in, open https://www.kaggle.com/datasets/quachnam/.* accept"),
        (HTTPError(404), r"it is not there \(404\): moved, renamed or withdrawn"),
        (HTTPError(429), r"\(429\); wait some minutes and run again, the download goes on"),
        (HTTPError(500), r"answers with an error \(500\); run again later"),
        (ConnectionError("no route"), r"the connection failed \(ConnectionError\); check network and proxy"),
        (TimeoutError(), r"the connection failed \(TimeoutError\)"),
        (ValueError("size does not match"), r"the connection failed \(ValueError\)"),
        (SystemExit(1), r"the connection failed \(SystemExit\)"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk full while writing .*; free some space and run again"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "cannot write /x: Permission denied"),
    ],
)
def test_what_fails_is_explained_in_one_message(tmp_path, error, message):
    with pytest.raises(DataError, match=message) as caught:
        fetch("rsna-roi", tmp_path / "data", lambda: Client(breaks=error))
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_without_credentials_the_user_is_told_what_to_do(tmp_path, capsys):
    with pytest.raises(DataError) as caught:
        fetch("rsna", tmp_path / "data", lambda: Client(known=False))
    for needed in (
        "https://www.kaggle.com/settings/api",
        "~/.kaggle/access_token",
        "%USERPROFILE%\\.kaggle\\access_token",
        "KAGGLE_API_TOKEN",
        "https://www.kaggle.com/competitions/rsna-breast-cancer-detection",
    ):
        assert needed in str(caught.value)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_failed_check_of_the_token_is_explained(tmp_path):
    client = Client()
    client.authenticate = lambda: (_ for _ in ()).throw(HTTPError(503))
    with pytest.raises(DataError, match=r"answers with an error \(503\)"):
        fetch("rsna", tmp_path / "data", lambda: client)


@pytest.mark.parametrize(
    ("name", "message"),
    [("rsna-ro", r"no set is called 'rsna-ro'; did you mean rsna-roi"), ("x", "there are: rsna-roi, rsna, cbis-ddsm")],
)
def test_an_unknown_name_gets_the_nearest_ones(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        fetch(name, tmp_path / "data", lambda: Client())


def test_a_missing_client_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(DataError, match=r"pip install -e \.\[kaggle\]"):
        kaggle_client()


def test_the_client_is_imported_without_its_noise(monkeypatch, capsys):
    def import_module(name: str) -> Any:
        assert name == "kaggle.api.kaggle_api_extended"
        print("Authentication required to call the Kaggle API.")
        return SimpleNamespace(KaggleApi=Client)

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert isinstance(kaggle_client(), Client)
    assert capsys.readouterr().out == ""
