"""The records database and its repositories, by use case."""

from __future__ import annotations

from pipelines.records.aliases import Aliases
from pipelines.records.checkpoints import EVERY, Checkpoints
from pipelines.records.clocks import SimulatedTime
from pipelines.records.database import open_records
from pipelines.records.decisions import Decisions
from pipelines.records.derived import Derivations
from pipelines.records.direct_log import DirectLog
from pipelines.records.ledger import Ledger
from pipelines.records.partitions import PartitionHistory
from pipelines.records.plans import Plans
from pipelines.records.prediction_log import PredictionLog
from pipelines.records.releases import Releases
from pipelines.records.rollouts import Rollouts
from pipelines.records.snapshots import Snapshots
from pipelines.records.stretches import Stretches
from pipelines.records.writers import LogWriters

QUICK = 0.01  # seconds


class Records:
    """The records database: SQLite on a laptop, PostgreSQL in production, by URI. Every repository is a use case's.

    Args:
        fsync: whether each commit to SQLite waits for the disk; for PostgreSQL its own settings decide.
    """

    def __init__(self, uri: str, fsync: bool = False) -> None:
        self._uri, self._fsync, self.engine = uri, fsync, open_records(uri, fsync)
        self.engines = [self.engine]

    def aliases(self, usecase: str) -> Aliases:
        return Aliases(self.engine, usecase)

    def checkpoints(self, every: float = EVERY) -> Checkpoints:
        """Checkpoints of the database, every `every` seconds, beside the commits of all repositories opened here."""
        return Checkpoints(self.engines, every)

    def decisions(self, usecase: str) -> Decisions:
        return Decisions(self.engine, usecase)

    def derivations(self, usecase: str) -> Derivations:
        return Derivations(self.engine, usecase)

    def ledger(self, usecase: str) -> Ledger:
        return Ledger(self.engine, usecase)

    def partitions(self, usecase: str) -> PartitionHistory:
        return PartitionHistory(self.engine, usecase)

    def plans(self, usecase: str) -> Plans:
        return Plans(self.engine, usecase)

    def predictions(self, usecase: str) -> PredictionLog:
        return PredictionLog(self.engine, usecase)

    def quick_predictions(self, usecase: str) -> PredictionLog | None:
        """As `predictions`, but statements fail where they would wait for another process; None for servers."""
        if self.engine.dialect.name != "sqlite":
            return None
        self.engines.append(open_records(self._uri, self._fsync, QUICK))
        return DirectLog(self.engines[-1], usecase)

    def releases(self, usecase: str) -> Releases:
        return Releases(self.engine, usecase)

    def rollouts(self, usecase: str) -> Rollouts:
        return Rollouts(self.engine, usecase)

    def simulated_time(self, usecase: str) -> SimulatedTime:
        return SimulatedTime(self.engine, usecase)

    def snapshots(self, usecase: str) -> Snapshots:
        return Snapshots(self.engine, usecase)

    def stretches(self, usecase: str) -> Stretches:
        return Stretches(self.engine, usecase)

    def writers(self, usecase: str) -> LogWriters:
        return LogWriters(self.engine, usecase)
