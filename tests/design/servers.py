"""A PostgreSQL server of our own on loopback, and a Ray cluster of two nodes on this machine; skipped where absent."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def postgres_programs() -> Path | None:
    """The folder with initdb and pg_ctl."""
    found = shutil.which("initdb")
    folders = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *([Path(found).parent] if found else []),
    ]
    return next((folder for folder in folders if (folder / "createdb").exists()), None)


def driver() -> str | None:
    """The scheme of an SQLAlchemy URL for which a driver is installed."""
    drivers = {"psycopg": "postgresql+psycopg", "psycopg2": "postgresql+psycopg2"}
    return next((scheme for module, scheme in drivers.items() if importlib.util.find_spec(module)), None)


class Postgres:
    """A server with its data in a folder of its own; `url(name)` makes a database."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self._programs, self._folder, self._port = programs, folder, port

    def run(self, program: str, *arguments: str, check: bool = True) -> None:
        # PostgreSQL refuses to run as root: Debian's package brings the user postgres.
        prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        command = [*prefix, str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert not check or done.returncode == 0, done.stderr

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        log = str(self._folder / "log")
        self.run("pg_ctl", "-D", str(self._folder / "data"), "-o", options, "-l", log, "-w", "-t", "60", "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop", check=False)

    def url(self, database: str) -> str:
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "mammogan", database)
        return f"{driver()}://mammogan@127.0.0.1:{self._port}/{database}"


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server, thrown away at the end."""
    programs = postgres_programs()
    if programs is None or not hasattr(os, "getuid"):
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    if driver() is None:
        pytest.skip('no driver for PostgreSQL: pip install "psycopg[binary]"')
    folder = Path(tempfile.mkdtemp(prefix="mammogan-postgres-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        server = Postgres(programs, folder, _free_port())
        server.run("initdb", "-D", str(folder / "data"), "-U", "mammogan", "--auth=trust", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
