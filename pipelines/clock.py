"""The clock of the server and the judge: wall time, or simulated time that a replay drives. Steps have none. A leaf."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    from pipelines.records import SimulatedTime


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware, in UTC."""


class WallClock:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ReplayClock:
    """The simulated time of a use case, stored in the records, so that every process reads the same."""

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time

    def now(self) -> datetime:
        """The simulated time.

        Raises:
            InvalidInput: if no replay has been started.
        """
        now = self._time.read()
        if now is None:
            raise InvalidInput(
                f"the clock of {self._time.usecase} is not set; start a replay, or set it with `flightdeck clock --at`"
            )
        return now

    @property
    def started(self) -> bool:
        return self._time.read() is not None

    def start(self, at: datetime) -> None:
        """Begin a new replay, whatever the time of an earlier one."""
        self._time.set(at)

    def advance(self, to: datetime) -> None:
        """Advance to an instant, which may be the present one.

        Raises:
            InvalidInput: if it is in the past, or no replay has been started.
        """
        if not self._time.advance(to):
            raise InvalidInput(f"the clock of {self._time.usecase} stands at {self.now()} and cannot go back to {to}")


def instant_of(clock: Clock, otherwise: datetime) -> datetime:
    """The present instant for the records, or `otherwise` where a replay has not begun."""
    return otherwise if isinstance(clock, ReplayClock) and not clock.started else clock.now()


def require_driven(clock: Clock) -> ReplayClock:
    """The clock, if a replay can drive it.

    Raises:
        InvalidInput: if it is wall time, which the server and the judge then read too.
    """
    if not isinstance(clock, ReplayClock):
        raise InvalidInput(
            "`clock` in params is `wall`, the default, which cannot be driven; to replay the past, set `clock: replay`"
        )
    return clock
