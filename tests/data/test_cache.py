"""The cache of cuts: by content, across kills and damage."""

import hashlib
import os
import sqlite3

import pytest

from mammogan.data.cache import Entry, tile_cache
from mammogan.errors import DataError


def opened(tmp_path):
    return tile_cache(tmp_path / "tiles.db", b"k" * 32)


def test_what_was_put_is_there_in_the_next_run(tmp_path):
    with opened(tmp_path) as cache:
        assert cache.record("a", 2) is None
        cache.put("a", Entry({"pixels": "8-bit PNG"}, b"\x00\x01"))
        cache.put("b", Entry({"reason": "unreadable"}, None))
    with opened(tmp_path) as cache:
        assert cache.record("a", 2) == {"pixels": "8-bit PNG"}
        assert cache.pixels("a") == b"\x00\x01"
        assert cache.record("b", 2) == {"reason": "unreadable"}


def test_what_was_put_before_an_error_stays(tmp_path):
    def stopped():
        with opened(tmp_path) as cache:
            cache.put("a", Entry({}, b"x"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with opened(tmp_path) as cache:
        assert cache.pixels("a") == b"x"


def test_a_hash_is_taken_again_only_when_size_or_time_differ(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    with opened(tmp_path) as cache:
        first = cache.identify(file)
        file.write_bytes(b"two")
        os.utime(file, ns=(1, 1))
        assert cache.identify(file) == first  # the bytes were not read
        os.utime(file, ns=(2, 2))
        assert cache.identify(file)[0] != first[0]


def test_neither_path_nor_a_plain_hash_is_kept(tmp_path):
    file = tmp_path / "DOE_JANE.png"
    file.write_bytes(b"x")
    with opened(tmp_path) as cache:
        cache.identify(file)
    with sqlite3.connect(tmp_path / "tiles.db") as database:
        (row,) = database.execute("select place, source_id from files").fetchall()
    plain = {hashlib.sha256(content).hexdigest() for content in (b"x", str(file).encode())}
    assert not any(text in plain or text in {digest[:16] for digest in plain} for text in row)
    assert b"DOE_JANE" not in (tmp_path / "tiles.db").read_bytes()


def test_a_tile_that_was_cut_short_counts_as_missing(tmp_path):
    with opened(tmp_path) as cache:
        cache.put("a", Entry({}, b"xy"))
        assert cache.record("a", 2) == {}
        assert cache.record("a", 4) is None


def test_a_cache_of_another_version_is_begun_anew(tmp_path):
    with sqlite3.connect(tmp_path / "tiles.db") as database:
        database.execute("create table cuts (something text)")
    with opened(tmp_path) as cache:
        cache.put("a", Entry({}, b"x"))
    with opened(tmp_path) as cache:
        assert cache.pixels("a") == b"x"


def test_two_processes_may_write_in_turn(tmp_path):
    with opened(tmp_path) as one, opened(tmp_path) as other:
        one.put("a", Entry({}, b"x"))
        other.put("b", Entry({}, b"y"))
        assert one.pixels("b") == b"y"
        assert other.pixels("a") == b"x"


def spoil_the_file(folder):
    (folder / "tiles.db").write_bytes(b"no database at all, but long enough to look at" * 30)


def spoil_a_page(folder):
    with opened(folder) as cache:
        cache.put("a", Entry({}, bytes(100_000)))
    content = bytearray((folder / "tiles.db").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (folder / "tiles.db").write_bytes(content)


def put_a_folder_there(folder):
    (folder / "tiles.db").mkdir()


@pytest.mark.parametrize("spoil", [spoil_the_file, spoil_a_page, put_a_folder_there])
def test_a_cache_that_cannot_be_used_is_one_message_that_says_how_to_mend_it(tmp_path, spoil):
    spoil(tmp_path)

    def use():
        with opened(tmp_path) as cache:
            cache.record("a", 1)
            cache.put("b", Entry({}, b"x"))

    with pytest.raises(DataError, match=r"tiles\.db cannot be used .*remove .* and run again"):
        use()


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / ".cache").write_bytes(b"")
    with pytest.raises(DataError, match=r"\.cache is no folder"), tile_cache(tmp_path / ".cache" / "t.db", b"k" * 32):
        pass


def test_a_full_disk_is_told_in_one_message(tmp_path):
    with pytest.raises(DataError, match=r"disk full while writing .*tiles\.db"), opened(tmp_path):
        raise sqlite3.OperationalError("database or disk is full")
