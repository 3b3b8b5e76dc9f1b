"""Migrations, which bring a records database of any earlier version, or an empty one, to the tables of this version.

Revisions are numbered and stay as they are once released. `alembic revision --autogenerate --rev-id NNNN -m "..."`
writes the next one from the difference between the tables in `pipelines.records` and the database at head; a test
refuses such a difference. There are no downgrades; restore a backup instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from pipelines.errors import InvalidInput

HEAD = "0011"  # stated here so that a database that is up to date does not need the import of Alembic
FOLDER = Path(__file__).parent
VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))
ALEMBIC = threading.Lock()  # Alembic keeps its state in the process, not in the thread
LOCK = 7301  # of PostgreSQL; any number that nothing else in the database uses


def bring_to_head(engine: sa.Engine) -> None:
    """Bring a database to the newest revision unless it is at it; of several processes at once, one does it.

    It is one transaction: a process that is killed leaves the database as it was.

    Raises:
        InvalidInput: if the database is of a newer version, or of one before the first release.
    """
    with engine.connect() as connection:
        before = revision_of(connection)
    if before == HEAD:
        return
    with ALEMBIC, locked(engine) as connection:
        before = revision_of(connection)
        if before is not None and before > HEAD:
            raise InvalidInput(
                f"the records database is at revision {before} and this version of Flightdeck knows {HEAD}: a newer "
                "version has used it; install that version, or restore a backup from before"
            )
        if before != HEAD:
            upgrade(connection)


def revision_of(connection: sa.Connection) -> str | None:
    """The revision that a database is at; None where it is empty or older than the first revision."""
    if not sa.inspect(connection).has_table(VERSION.name):
        return None
    return connection.scalar(sa.select(VERSION.c.version_num))


@contextmanager
def locked(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction, schema changes included, that is open in one process at a time."""
    with engine.connect() as connection:
        lock = f"select pg_advisory_xact_lock({LOCK})"
        if engine.dialect.name == "sqlite":
            connection.execution_options(
                isolation_level="AUTOCOMMIT"
            )  # else Python begins the transaction later, and not for DDL
            lock = "begin immediate"
        with connection.begin():
            connection.exec_driver_sql(lock)
            yield connection


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Run the revisions up to one, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    command.upgrade(config, revision)
