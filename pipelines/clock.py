"""The clock of the server and the judge: the wall's, or one that a replay drives. Steps have none. A leaf."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

from pipelines.errors import InvalidInput
from pipelines.records.database import METADATA, Instant, insert

if TYPE_CHECKING:
    from pipelines.params import Params
    from pipelines.records import Records

CLOCKS = sa.Table(
    "clocks",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("now", Instant, nullable=False),
)


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware, in UTC."""


class WallClock:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ReplayClock:
    """The simulated time of a use case, one row in the records database; every process reads the same."""

    def __init__(self, engine: sa.Engine, usecase: str) -> None:
        self.engine, self.usecase = engine, usecase
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateTable(CLOCKS, if_not_exists=True))

    def now(self) -> datetime:
        """The instant at which the replay stands.

        Raises:
            InvalidInput: if none has been started.
        """
        now = self._stands_at()
        if now is None:
            raise InvalidInput(
                f"the clock of {self.usecase} stands nowhere; start a replay, or set it with `flightdeck clock --at`"
            )
        return now

    @property
    def started(self) -> bool:
        return self._stands_at() is not None

    def _stands_at(self) -> datetime | None:
        with self.engine.connect() as connection:
            return connection.scalar(sa.select(CLOCKS.c.now).where(CLOCKS.c.usecase == self.usecase))

    def start(self, at: datetime) -> None:
        """Begin a new replay, wherever an earlier one stands."""
        statement = insert(self.engine, CLOCKS).values(usecase=self.usecase, now=at)
        moved = statement.on_conflict_do_update(index_elements=["usecase"], set_={"now": statement.excluded.now})
        with self.engine.begin() as connection:
            connection.execute(moved)

    def advance(self, to: datetime) -> None:
        """Move on to an instant; to stay is allowed.

        Raises:
            InvalidInput: if that lies in the past, or no replay has been started.
        """
        forward = sa.update(CLOCKS).where(CLOCKS.c.usecase == self.usecase, CLOCKS.c.now <= to).values(now=to)
        with self.engine.begin() as connection:
            moved = connection.execute(forward).rowcount
        if not moved:
            raise InvalidInput(f"the clock of {self.usecase} stands at {self.now()} and cannot go back to {to}")


def instant_of(clock: Clock, otherwise: datetime) -> datetime:
    """The present instant for the records, or `otherwise` where a replay has not begun."""
    return otherwise if isinstance(clock, ReplayClock) and not clock.started else clock.now()


def open_clock(params: Params, records: Records, usecase: str) -> Clock:
    """The clock that params.yaml names."""
    return ReplayClock(records.engine, usecase) if params.clock == "replay" else WallClock()


def require_driven(clock: Clock) -> ReplayClock:
    """This clock, if a replay drives it.

    Raises:
        InvalidInput: if it is the wall's: server and judge would not read what is driven.
    """
    if not isinstance(clock, ReplayClock):
        raise InvalidInput(
            "`clock` in params is `wall`, the default, which nobody drives; to replay the past, set `clock: replay`"
        )
    return clock
