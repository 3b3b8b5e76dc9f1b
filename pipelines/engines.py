"""How every SQL database of ours is opened, and what is told when one cannot be used. A leaf: imports no step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipelines.errors import FlightdeckError, InvalidInput, Unavailable

# What the database or the way to it raises; errors of a statement, such as a refused change, are for whoever made it.
OUTSIDE = (sa.exc.OperationalError, sa.exc.InterfaceError)
DAMAGED = ("not a database", "malformed")


def open_engine(uri: str, variable: str, what: str) -> sa.Engine:
    """An engine whose errors from outside are told as `Unavailable`.

    Args:
        uri: of SQLAlchemy's kind.
        variable: that sets it.
        what: it holds, in words.

    Raises:
        InvalidInput: if it is no URI, or its driver is not installed.
    """
    try:
        url = sa.make_url(uri)
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")  # whatever SQLAlchemy's default is
        options: dict[str, Any] = {"pool_pre_ping": True}
        if url.get_backend_name() == "sqlite":
            options = {"connect_args": {"timeout": 30}}
            if url.database and url.database != ":memory:":
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, hide_parameters=True, **options)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: of a port
        raise InvalidInput(f"{variable} is no database URI (it may hold a password: not shown); correct it") from None
    except ImportError as error:
        raise InvalidInput(
            f"{variable} is of a database whose driver is not installed ({error}); pip install it"
        ) from None

    explain(engine, variable, what)
    return engine


def explain(engine: sa.Engine, variable: str, what: str) -> None:
    """From now on, errors of an engine that come from outside are raised as `Unavailable`."""

    def outside(context: sa.engine.ExceptionContext) -> FlightdeckError | None:
        error = context.sqlalchemy_exception or context.original_exception
        damaged = isinstance(error, sa.exc.DatabaseError) and any(mark in str(error) for mark in DAMAGED)
        return unusable(error, variable, what) if isinstance(error, OUTSIDE) or damaged else None

    sa.event.listen(engine, "handle_error", outside, retval=True)


def unusable(error: BaseException, variable: str, what: str) -> Unavailable:
    """What is told of a database that cannot be used, in one line."""
    told = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
    remedy = "see that it is up and has room, then run this again: it goes on where it stopped"
    if any(mark in told for mark in DAMAGED):
        remedy = "restore it from a backup, or move it away to begin a new one"
    if "readonly" in told or "read-only" in told:
        remedy = "make it and its folder writable for this user"
    return Unavailable(f"{what} ({variable}) is unavailable ({told}); {remedy}")
