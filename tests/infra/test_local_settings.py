"""Airflow's local settings: imports for the scheduler only, and early write locks of `backfill create`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from infra.deck import REPO

SETTINGS = REPO / "infra" / "airflow" / "airflow_local_settings.py"


def as_airflow(arguments: list[str], code: str) -> str:
    """Runs `code` after the settings, in a process whose command line is `airflow ARGUMENTS`."""
    head = f"import sys; sys.argv = ['airflow', *{arguments!r}]; import airflow_local_settings as settings\n"
    command = [sys.executable, "-c", head + code]
    env = {"PYTHONPATH": str(SETTINGS.parent)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.parametrize("arguments", [["api-server"], ["dag-processor"], ["triggerer"], ["db", "migrate"], []])
def test_only_the_scheduler_imports_up_front(arguments: list[str]) -> None:
    loaded = as_airflow(arguments, "print(*[name for name in settings.PRELOADED if name in sys.modules])")
    assert loaded == ""


def test_everything_that_is_imported_up_front_is_installed() -> None:
    names = as_airflow([], "print(*settings.PRELOADED)").split()
    assert "torch" in names
    assert [name for name in names if importlib.util.find_spec(name.partition(".")[0]) is None] == []


def test_airflow_settings_get_no_names_of_ours() -> None:
    assert as_airflow([], "print(settings.__all__)") == "[]"


@pytest.mark.parametrize(("arguments", "locked"), [(["backfill", "create"], True), (["backfill", "list"], False)])
def test_backfill_create_takes_the_write_lock_when_its_transaction_begins(
    tmp_path: Path, arguments: list[str], locked: bool
) -> None:
    code = f"""
import sqlalchemy as sa, sqlite3
file = {str(tmp_path / "x.db")!r}
with sa.create_engine("sqlite:///" + file).connect() as connection:
    connection.execute(sa.text("select 1"))
    try:
        sqlite3.connect(file, timeout=0).execute("begin immediate")
        print(False)
    except sqlite3.OperationalError:
        print(True)
"""
    assert as_airflow(arguments, code) == str(locked)
