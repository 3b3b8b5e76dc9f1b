"""Opening of our SQL databases, and the errors for one that cannot be used. A leaf: imports no step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipelines.errors import FlightdeckError, InvalidInput, Unavailable

# Errors of the database or of the connection; the caller handles errors of a statement, such as a refused change.
OUTSIDE = (sa.exc.OperationalError, sa.exc.InterfaceError)
DAMAGED = ("not a database", "malformed")


def open_engine(uri: str, variable: str, what: str, patience: float = 30) -> sa.Engine:
    """An engine that raises errors from outside as `Unavailable`.

    Args:
        uri: a SQLAlchemy URL.
        variable: the variable that sets the URI.
        what: the content of the database, for messages.
        patience: seconds that a statement waits for another process's lock on an SQLite file.

    Raises:
        InvalidInput: if the URI is malformed, or its driver is not installed.
    """
    try:
        url = sa.make_url(uri)
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")  # whatever SQLAlchemy's default is
        options: dict[str, Any] = {"pool_pre_ping": True}
        if url.get_backend_name() == "sqlite":
            options = {"connect_args": {"timeout": patience}}
            if url.database and url.database != ":memory:":
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, hide_parameters=True, **options)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: of a port
        raise InvalidInput(f"{variable} is not a database URI (not shown: may hold a password); correct it") from None
    except ImportError as error:
        raise InvalidInput(
            f"{variable} names a database whose driver is not installed ({error}); pip install it"
        ) from None

    explain(engine, variable, what)
    return engine


def explain(engine: sa.Engine, variable: str, what: str) -> None:
    """Make an engine raise errors from outside as `Unavailable`."""

    def outside(context: sa.engine.ExceptionContext) -> FlightdeckError | None:
        error = context.sqlalchemy_exception or context.original_exception
        damaged = isinstance(error, sa.exc.DatabaseError) and any(mark in str(error) for mark in DAMAGED)
        return unusable(error, variable, what) if isinstance(error, OUTSIDE) or damaged else None

    sa.event.listen(engine, "handle_error", outside, retval=True)


def unusable(error: BaseException, variable: str, what: str) -> Unavailable:
    """The error for a database that cannot be used, in one line."""
    message = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
    remedy = "see that it is up and has room, then run this again: it goes on where it stopped"
    if any(mark in message for mark in DAMAGED):
        remedy = "restore it from a backup, or move it away to begin a new one"
    if "readonly" in message or "read-only" in message:
        remedy = "make it and its folder writable for this user"
    return Unavailable(f"{what} ({variable}) is unavailable ({message}); {remedy}")
