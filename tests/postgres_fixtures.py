"""A PostgreSQL server of our own, for a whole session, and databases in it; skipped where none is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.sqlite import uri_of
from tests.services import missing, thorough

USER, PASSWORD = "flight deck", "se=cr3t:@/%"  # characters that have to be quoted in a URI
KINDS = ("sqlite", pytest.param("postgresql", marks=thorough))
on_both = pytest.mark.parametrize("records_place", KINDS, indirect=True)
ATTEMPTS, PAUSE = 600, 0.1  # until the server answers


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """The address of a server for the whole session; tests create databases in it as needed."""
    programs = binaries()
    if programs is None:
        missing("PostgreSQL", "postgresql")
    with running_postgres(programs) as url:
        yield url


@pytest.fixture
def postgres_uri(postgres_server: sa.URL) -> Iterator[str]:
    """The URI of a new empty database, as a user writes it: without a driver."""
    with database(postgres_server) as uri:
        yield uri


@pytest.fixture(params=KINDS)
def records_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty records database, in SQLite or PostgreSQL."""
    if request.param == "sqlite":
        return uri_of(tmp_path / "records.db")
    return str(request.getfixturevalue("postgres_uri"))


@pytest.fixture
def records_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """As `records_uri`, in SQLite unless the test says `on_both`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return uri_of(tmp_path / "records.db")
    return str(request.getfixturevalue("postgres_uri"))


@contextmanager
def database(server: sa.URL) -> Iterator[str]:
    """A context manager of an empty database; pooled connections to it are closed at the end."""
    opened: list[Any] = []

    def note(connection: Any, _: object) -> None:
        if type(connection).__module__.startswith("psycopg"):
            opened.append(connection)

    sa.event.listen(sa.Pool, "connect", note)
    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"create database {name}")
    try:
        yield server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    finally:
        sa.event.remove(sa.Pool, "connect", note)
        for each in opened:
            each.close()
        with engine.connect() as connection:
            connection.exec_driver_sql(f"drop database {name} with (force)")


def binaries() -> Path | None:
    """The folder of the server's programs, which Debian keeps out of the path; None where it is not installed."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@contextmanager
def running_postgres(programs: Path) -> Iterator[sa.URL]:
    """A context manager of a server on a free port, protected by a password, that does not sync to disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="flightdeck-postgres-"))  # pytest's own folders are closed to other users
    owner: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    try:
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            account = pwd.getpwnam(unprivileged())
            owner |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            for path in (folder, folder / "password"):
                os.chown(path, account.pw_uid, account.pw_gid)
        made = [
            "--username",
            USER,
            "--pwfile",
            "password",
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run([programs / "initdb", *made, "--no-locale", "-D", "data"], check=True, **owner)
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([programs / "postgres", "-D", "data", *given], stderr=log, **owner)
        try:
            url = sa.URL.create("postgresql+psycopg", USER, PASSWORD, "127.0.0.1", port, "postgres")
            _wait(url, process, folder / "log")
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown, even with open connections
            process.wait()
    finally:
        shutil.rmtree(folder)


def unprivileged() -> str:
    """The user that runs the server where we are root."""
    known = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _wait(url: sa.URL, process: subprocess.Popen[bytes], log: Path) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for _ in range(ATTEMPTS):
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError:
            assert process.poll() is None, f"PostgreSQL has ended: {log.read_text()[-2000:]}"
            time.sleep(PAUSE)
    raise AssertionError(f"PostgreSQL does not answer: {log.read_text()[-2000:]}")
