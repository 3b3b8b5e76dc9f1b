"""Checkpoints of SQLite's log outside of commits, which otherwise sometimes wait for them and for the disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import sqlalchemy as sa

from pipelines.errors import FlightdeckError

log = logging.getLogger(__name__)
EVERY = 0.25  # seconds: after a second, the disk holds up the commits for longer than most calls take
AT_MOST = 20_000  # pages, after which a commit makes one: beside commits that never pause the log would not begin anew


class Checkpoints:
    """Takes over the checkpoints of all connections of some engines of one SQLite database; does nothing for others."""

    def __init__(self, engines: Sequence[sa.Engine], every: float) -> None:
        self._engines, self._every = engines, every
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        if self._engines[0].dialect.name == "sqlite":
            for engine in self._engines:
                sa.event.listen(engine, "connect", _leave)
                engine.dispose()  # so that connections that make their own are closed
            self._thread = threading.Thread(target=self._keep_making, name="checkpoints", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Make the last checkpoint."""
        self._ended.set()
        if self._thread:
            self._thread.join()
            for engine in self._engines:
                sa.event.remove(engine, "connect", _leave)
            self._make()

    def _keep_making(self) -> None:
        while not self._ended.wait(self._every):
            self._make()

    def _make(self) -> None:
        try:
            with self._engines[0].connect() as connection:
                connection.exec_driver_sql("pragma wal_checkpoint(passive)")
        except (sa.exc.SQLAlchemyError, FlightdeckError) as error:
            log.error("no checkpoint of the records (%s); they stay in the log until the next", error)


def _leave(connection: object, _: object) -> None:
    connection.execute(f"pragma wal_autocheckpoint = {AT_MOST}")  # type: ignore[attr-defined]
