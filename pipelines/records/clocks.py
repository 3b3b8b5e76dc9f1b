"""The simulated time of a replay, which server, judge and driver share."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from pipelines.records.database import METADATA, Instant, Repository, insert

CLOCKS = sa.Table(
    "clocks",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("now", Instant, nullable=False),
)
NOW = sa.select(CLOCKS.c.now).where(CLOCKS.c.usecase == sa.bindparam("of"))  # built once, asked often


class SimulatedTime(Repository):
    """The instant at which the replay of one use case stands."""

    def read(self) -> datetime | None:
        """The instant; None before the first replay."""
        with self.engine.connect() as connection:
            return connection.scalar(NOW, {"of": self.usecase})

    def set(self, at: datetime) -> None:
        """Set the time to an instant, earlier or later than the present one."""
        statement = insert(self.engine, CLOCKS).values(usecase=self.usecase, now=at)
        upsert = statement.on_conflict_do_update(index_elements=["usecase"], set_={"now": statement.excluded.now})
        with self.engine.begin() as connection:
            connection.execute(upsert)

    def advance(self, to: datetime) -> bool:
        """Advance the time to an instant; false, without a change, if that is in the past or there is no replay."""
        forward = sa.update(CLOCKS).where(CLOCKS.c.usecase == self.usecase, CLOCKS.c.now <= to).values(now=to)
        with self.engine.begin() as connection:
            return bool(connection.execute(forward).rowcount)
