"""The one door for errors: each error of a command, a task or a trigger becomes one line with its remedy.

Errors of this package have such a message. Errors of libraries are translated here, once for the command line, the
console, Airflow's tasks and triggers, the servers and the supervisor. Standard library only, until an error occurs.
"""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import sys
import traceback
from typing import Any, cast

from pipelines.errors import FlightdeckError, InvalidInput, Unavailable
from pipelines.redaction import redact

TRACEBACK = "FLIGHTDECK_TRACEBACK"  # set it to see where an error came from
LONG = 400  # characters of a library's message
FULL = {errno.ENOSPC, errno.EDQUOT}
AWAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNREFUSED}
SHUT = {errno.EACCES, errno.EPERM, errno.EROFS}


BACKENDS = {
    "mlflow": ("MLflow's database", "FLIGHTDECK_MLFLOW_URI"),
    "feast": ("Feast's registry", "FLIGHTDECK_FEAST_REGISTRY, FLIGHTDECK_FEAST_DECLARED"),
}


class Unexpected(FlightdeckError):
    """An unexpected error: a fault of this package or of a use case."""


def translate(error: BaseException, mlflow: str = "") -> FlightdeckError:
    """An error as one of ours, with a message in one line; one of ours is returned as it is.

    Args:
        mlflow: MLflow's URI, for errors of its client.
    """
    if isinstance(error, FlightdeckError):
        return error
    if isinstance(error, OSError) and not _of_a_client(error):
        return disk(error)
    if isinstance(error, ImportError):
        _, variables = _whose(error) if _through(error, "sqlalchemy") else ("", "")  # a driver
        return InvalidInput(
            f"{one_line(error)}; install what is missing, or correct what names it"
            f"{f' ({variables})' if variables else ''}"
        )
    return _of_mlflow(error, mlflow) or _of_a_database(error) or _unexpected(error)


def disk(error: OSError) -> FlightdeckError:
    """The error for a file or disk that cannot be used."""
    place = f"{error.filename}: " if error.filename else ""
    message = error.strerror or one_line(error)
    remedy = "see that it is there and can be used, then run this again: it goes on where it stopped"
    if error.errno in AWAY or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        remedy = "see that the server is up (FLIGHTDECK_STORE_URI is the store's), then run this again"
    elif error.errno in FULL:
        remedy = "free some room, then run this again: it goes on where it stopped"
    elif error.errno in SHUT:
        remedy = "give this user the right to write there, or set FLIGHTDECK_HOME (--home) to a folder of yours"
    return Unavailable(f"{place}{message}; {remedy}")


def report(error: BaseException, mlflow: str = "") -> int:
    """Print an error as one line on stderr, and return the exit status. FLIGHTDECK_TRACEBACK adds the traceback."""
    if isinstance(error, BrokenPipeError):  # the reader of our output is gone; Python would report it at exit, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    failure = translate(error, mlflow)
    if os.environ.get(TRACEBACK):
        print(trace(error), file=sys.stderr)
    print(line(failure), file=sys.stderr)
    return failure.exit_code


def line(error: FlightdeckError) -> str:
    """An error as a terminal shows it."""
    return f"flightdeck: {one_line(error)}"


def trace(error: BaseException) -> str:
    """The traceback of an error, without secrets."""
    return redact("".join(traceback.format_exception(error)))


def one_line(error: BaseException) -> str:
    """An error's message without line breaks; a library's is cut to LONG characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if isinstance(error, FlightdeckError) or len(words) <= LONG else f"{words[:LONG]}..."


def _of_a_client(error: BaseException) -> bool:
    """Whether an error comes from the library requests, whose errors are OSErrors too."""
    requests: Any = sys.modules.get("requests")
    return requests is not None and isinstance(error, requests.RequestException)


def _of_mlflow(error: BaseException, place: str) -> FlightdeckError | None:
    if "mlflow.exceptions" not in sys.modules and not _of_a_client(error):
        return None
    from pipelines.tracking.library import unavailable

    return unavailable(error, place)


def _of_a_database(error: BaseException) -> FlightdeckError | None:
    redis, duckdb, sa = (cast(Any, sys.modules.get(name)) for name in ("redis", "duckdb", "sqlalchemy"))
    if isinstance(error, sqlite3.Error) or (redis is not None and isinstance(error, redis.RedisError)):
        return Unavailable(
            f"the online store (FLIGHTDECK_FEAST_ONLINE) is unavailable ({one_line(error)}); see that it is up and has "
            "room, then run this again: it goes on where it stopped"
        )
    if sa is not None and isinstance(error, sa.exc.SQLAlchemyError):
        from pipelines.engines import unusable

        what, variables = _whose(error)
        return unusable(error, variables or "its URI", what or "a database")
    if duckdb is not None and isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
        return Unavailable(
            f"{one_line(error)}; see that the file is there and that there is room, then run this again: it goes on "
            "where it stopped"
        )
    return None


def _whose(error: BaseException) -> tuple[str, str]:
    """The entry of BACKENDS through whose library an error came: what it opens and its variables; else two blanks."""
    return next((what for root, what in BACKENDS.items() if _through(error, root)), ("", ""))


def _through(error: BaseException, library: str) -> bool:
    names = (str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.partition(".")[0] == library for name in names)


def _unexpected(error: BaseException) -> Unexpected:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return Unexpected(
        f"{type(error).__name__}{where}: {one_line(error)}; this is unexpected: run it again with {TRACEBACK}=1 to "
        "see where it came from, and correct the use case, or report it"
    )
