"""The cache of cuts: by content, across kills and damage."""

import os
import sqlite3

import pytest

from mammogan.data.cache import Entry, tile_cache
from mammogan.errors import DataError


def test_what_was_put_is_there_in_the_next_run(tmp_path):
    with tile_cache(tmp_path / "tiles.db") as cache:
        assert cache.record("a") is None
        cache.put("a", Entry({"pixels": "8-bit PNG"}, b"\x00\x01"))
        cache.put("b", Entry({"reason": "unreadable"}, None))
    with tile_cache(tmp_path / "tiles.db") as cache:
        assert cache.record("a") == {"pixels": "8-bit PNG"}
        assert cache.pixels("a") == b"\x00\x01"
        assert cache.record("b") == {"reason": "unreadable"}


def test_what_was_put_before_an_error_stays(tmp_path):
    def stopped():
        with tile_cache(tmp_path / "tiles.db") as cache:
            cache.put("a", Entry({}, b"x"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with tile_cache(tmp_path / "tiles.db") as cache:
        assert cache.pixels("a") == b"x"


def test_a_hash_is_taken_again_only_when_size_or_time_differ(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    with tile_cache(tmp_path / "tiles.db") as cache:
        first = cache.sha256(file)
        file.write_bytes(b"two")
        os.utime(file, ns=(1, 1))
        assert cache.sha256(file) == first  # the bytes were not read
        os.utime(file, ns=(2, 2))
        assert cache.sha256(file) != first


def test_no_path_is_kept(tmp_path):
    file = tmp_path / "DOE_JANE.png"
    file.write_bytes(b"x")
    with tile_cache(tmp_path / "tiles.db") as cache:
        cache.sha256(file)
    assert b"DOE_JANE" not in (tmp_path / "tiles.db").read_bytes()


def test_a_damaged_cache_is_begun_anew(tmp_path):
    (tmp_path / "tiles.db").write_bytes(b"no database at all, but long enough to look at" * 30)
    with tile_cache(tmp_path / "tiles.db") as cache:
        cache.put("a", Entry({}, b"x"))
    with tile_cache(tmp_path / "tiles.db") as cache:
        assert cache.pixels("a") == b"x"


def test_a_full_disk_is_told_in_one_message(tmp_path):
    with pytest.raises(DataError, match=r"disk full while writing .*tiles\.db"), tile_cache(tmp_path / "tiles.db"):
        raise sqlite3.OperationalError("database or disk is full")
