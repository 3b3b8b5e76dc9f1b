"""Every error becomes one line with a remedy and the right exit status."""

from __future__ import annotations

import errno
import os
import sqlite3

import duckdb
import pytest
import redis
import sqlalchemy as sa
from mlflow.exceptions import MlflowException
from requests.exceptions import ConnectionError as Unreachable

from pipelines import failure
from pipelines.errors import CheckFailed, FlightdeckError, InvalidInput, MissingData

PLACE = "http://127.0.0.1:5000"
OUTSIDE, INPUT, CHECK = 1, 2, 3
ERRORS = [
    (CheckFailed("too few rows"), CHECK, "too few rows"),
    (MissingData("no such day"), INPUT, "no such day"),
    (OSError(errno.ENOSPC, "No space left on device", "/x/y"), OUTSIDE, "free some room"),
    (OSError(errno.EROFS, "Read-only file system", "/x/y"), OUTSIDE, "the right to write"),
    (PermissionError(errno.EACCES, "Permission denied", "/x/y"), OUTSIDE, "the right to write"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/y"), OUTSIDE, "/x/y"),
    (TimeoutError(), OUTSIDE, "TimeoutError"),
    (ModuleNotFoundError("No module named 'psycopg2'"), INPUT, "install what is missing"),
    (MlflowException("it burns"), OUTSIDE, f"MLflow at {PLACE} cannot be used"),
    (MlflowException.invalid_parameter_value("no such name"), INPUT, f"MLflow at {PLACE} refuses it"),
    (Unreachable("no route"), OUTSIDE, f"MLflow at {PLACE} cannot be used"),
    (sa.exc.OperationalError("select 1", {}, Exception("gone")), OUTSIDE, "a database"),
    (sqlite3.OperationalError("database or disk is full"), OUTSIDE, "the online store"),
    (redis.ConnectionError("refused"), OUTSIDE, "the online store"),
    (duckdb.IOException("no room"), OUTSIDE, "run this again"),
    (KeyError("column"), OUTSIDE, failure.TRACEBACK),
    (ZeroDivisionError("two\nlines"), OUTSIDE, "two lines"),
]


@pytest.mark.parametrize(("error", "status", "words"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_one_line_and_has_its_status(
    error: Exception, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        raise error
    except Exception as raised:
        assert failure.report(raised, PLACE) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flightdeck: ") and words in line


def test_an_unexpected_error_names_its_place_and_shows_its_traceback_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(failure.TRACEBACK, "1")
    monkeypatch.setenv("EXAMPLE_TOKEN", "notforlogs")
    try:
        raise RuntimeError("the token is notforlogs")
    except RuntimeError as raised:
        assert failure.report(raised) == OUTSIDE
    output = capsys.readouterr().err
    assert "Traceback" in output and "test_failure.py" in output.splitlines()[-1] and "notforlogs" not in output


def test_a_closed_pipe_prints_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(1)
    try:
        assert failure.report(BrokenPipeError()) == OUTSIDE
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert capfd.readouterr().err == ""


def test_an_error_of_ours_is_printed_unchanged() -> None:
    error = InvalidInput("a very long word " * 100)
    assert failure.translate(error) is error and failure.one_line(error) == " ".join(str(error).split())
    assert isinstance(failure.translate(ValueError()), FlightdeckError)
