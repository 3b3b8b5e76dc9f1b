"""The prediction log in SQLite for a single appending process."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pipelines.records.database import insert_statement
from pipelines.records.prediction_log import PredictionLog
from pipelines.records.predictions import PREDICTIONS, Prediction


class DirectLog(PredictionLog):
    """The log in SQLite, appended through a connection of its own and the bare driver, which is faster than SQLAlchemy.

    Only one thread at a time may append.
    """

    def __init__(self, engine: sa.Engine, usecase: str) -> None:
        super().__init__(engine, usecase)
        self._statement, names = insert_statement(PREDICTIONS, f"{engine.dialect.name}+{engine.dialect.driver}")
        assert names is not None  # SQLite's parameters have none
        self._names = tuple(names)
        self._pool: sa.Pool | None = None
        self._connection: sa.PoolProxiedConnection | None = None

    def _append(self, columns: Mapping[str, Sequence[Any]]) -> list[Prediction] | None:
        """As in `PredictionLog`, where no id is in the log yet.

        Raises:
            Repeated: if one is in the log; nothing is written then.
        """
        rows = [*zip(*(columns[name] for name in self._names), strict=True)]
        with self._driver() as driver:  # commits, or rolls back
            if driver.executemany(self._statement, rows).rowcount < len(rows):
                raise Repeated("an id is in the log; append to it by PredictionLog, which reads what is there")
        return None

    def _driver(self) -> sqlite3.Connection:
        """A connection of the engine's present pool, with the settings of the engine."""
        if self._pool is not self.engine.pool:
            self._pool, self._connection = self.engine.pool, self.engine.raw_connection()
        driver: sqlite3.Connection = self._connection.driver_connection  # type: ignore[assignment,union-attr]
        return driver


class Repeated(Exception):
    """An id is in the log already."""
