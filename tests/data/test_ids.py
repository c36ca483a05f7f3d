"""Keyed ids, and the key that makes them."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mammogan.data import ids
from mammogan.data.ids import KEY_VARIABLE, keyed, load_key
from mammogan.errors import DataError

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def test_an_id_is_the_beginning_of_a_standard_hmac():
    # printf 'patient\0007' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0b0b...0b (32 times 0b)
    assert keyed(b"\x0b" * 32, "patient", "7") == "626f21fe036733d7"


def test_ids_differ_by_key_kind_and_value():
    key, other = b"a" * 32, b"b" * 32
    cases = [(key, "patient", "1"), (key, "image", "1"), (key, "patient", "2"), (other, "patient", "1")]
    assert len({keyed(*case) for case in cases}) == 4
    assert keyed(key, "patient", "1") == keyed(key, "patient", "1")
    assert keyed(key, "a", "bc") != keyed(key, "ab", "c")
    assert len(keyed(key, "patient", "Ærø")) == 16


def test_the_key_is_made_once_and_kept(home):
    first = load_key()
    assert len(first) == 32
    assert load_key() == first
    assert (home / ".config" / "mammogan" / "id.key").read_text().strip() == first.hex()


def test_two_users_have_different_keys(tmp_path):
    assert load_key(tmp_path / "a.key") != load_key(tmp_path / "b.key")


def test_the_variable_names_another_file(home, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, str(home / "elsewhere" / "my.key"))
    key = load_key()
    assert (home / "elsewhere" / "my.key").read_text().strip() == key.hex()
    assert not (home / ".config").exists()
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert load_key() != key


def test_on_windows_the_key_lies_in_appdata(home, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", str(home / "Roaming"))
    load_key()
    assert (home / "Roaming" / "mammogan" / "id.key").is_file()


@on_posix
def test_only_its_owner_can_read_the_key(tmp_path):
    load_key(tmp_path / "id.key")
    assert stat.S_IMODE((tmp_path / "id.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "ab" * 31, "ab" * 33, "zz" * 32, "ab" * 31 + "a"])
def test_a_damaged_key_is_refused_and_left_alone(tmp_path, content):
    file = tmp_path / "id.key"
    file.write_text(content)
    with pytest.raises(DataError, match="is damaged: it must hold 64 hex digits; restore it") as caught:
        load_key(file)
    assert file.read_text() == content
    assert not content or content not in str(caught.value)


def test_bytes_that_are_no_text_are_damaged_too(tmp_path):
    (tmp_path / "id.key").write_bytes(bytes(range(128, 160)))
    with pytest.raises(DataError, match="is damaged"):
        load_key(tmp_path / "id.key")


def test_a_key_in_the_checkout_is_refused(tmp_path):
    checkout = tmp_path / "checkout"
    (checkout / "deep").mkdir(parents=True)
    for path in (checkout / "id.key", checkout / "deep" / "id.key", tmp_path / "checkout" / ".." / "checkout" / "k"):
        with pytest.raises(DataError, match="inside the checkout and could be committed"):
            load_key(path, checkout)
        assert not path.exists()
    assert len(load_key(tmp_path / "checkout.key", checkout)) == 32


def test_a_place_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can be neither read nor made"):
        load_key(tmp_path / "file" / "id.key")
    with pytest.raises(DataError, match="can be neither read nor made"):
        load_key(tmp_path)


def test_an_interrupted_making_leaves_no_key(tmp_path, monkeypatch):
    monkeypatch.setattr(ids.secrets, "token_bytes", lambda n: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        load_key(tmp_path / "id.key")
    assert not (tmp_path / "id.key").exists()
    monkeypatch.undo()
    assert len(load_key(tmp_path / "id.key")) == 32


def test_processes_that_start_together_get_the_same_key(tmp_path):
    code = """
import pathlib, secrets, sys, time
from mammogan.data import ids

chance = secrets.token_bytes
secrets.token_bytes = lambda n: time.sleep(0.5) or chance(n)  # long enough for all to find no key
print(ids.load_key(pathlib.Path(sys.argv[1])).hex())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "id.key")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    keys = {process.communicate(timeout=60)[0] for process in processes}
    assert len(keys) == 1
    assert len(keys.pop().strip()) == 64
