"""Airflow imports this in every process at its start (this folder is on the parts' PYTHONPATH)."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import sys
import time
from typing import Any

__all__: list[str] = []  # Airflow copies every name listed here into its own settings

# Tasks are forked from the scheduler, so that its imports cost them nothing. Imports only: if the parent has run a
# parallel region (OpenMP, torch) before the fork, its children wait for threads that they do not have.
PRELOADED = (
    "pandas",
    "pyarrow.parquet",
    "duckdb",
    "sqlalchemy",
    "great_expectations",
    "sklearn.ensemble",
    "mlflow",
    "feast",
    "evidently.presets",
    "torch",
    "onnx",
    "onnxruntime",
    "skl2onnx",
)


def preload() -> None:
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except Exception:  # the task that needs it reports the error
            logging.getLogger(__name__).warning("cannot preload %s", name, exc_info=True)


def wait_for_gate() -> None:
    """Wait until the supervisor reports that the servers are up; by then the imports, which take longest, are done."""
    gate, parent = os.environ.get("FLIGHTDECK_GATE"), os.getppid()
    while gate and not os.path.exists(gate):
        if os.getppid() != parent:
            sys.exit("the supervisor is gone")
        time.sleep(0.1)


def begin_immediate() -> None:
    """On SQLite, take the write lock when a transaction begins, where it can wait; upgrading a read lock cannot."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        if type(connection).__module__.startswith("sqlite3"):
            connection.isolation_level = None

    @event.listens_for(Engine, "begin")
    def begin(connection: Any) -> None:
        if connection.dialect.name == "sqlite" and connection.dialect.driver == "pysqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")


# Otherwise it logs hundreds of "Skipping registering function" lines; Airflow's setting of levels does not apply to it.
logging.getLogger("great_expectations").setLevel(logging.WARNING)

if sys.argv[1:2] == ["scheduler"]:
    if multiprocessing.get_start_method() == "fork":
        preload()
    wait_for_gate()
if sys.argv[1:3] == ["backfill", "create"]:
    begin_immediate()
