"""Windows of whole periods, the unit of the chain's work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from pipelines.errors import InvalidInput
from pipelines.instants import MICROSECOND, local_day
from pipelines.periods import A_DAY, Calendar, Period


@dataclass(frozen=True)
class Window:
    """Periods from `start` up to, not including, `end`: dates where periods are days, else instants (UTC).

    Attributes:
        timezone, length: of the calendar whose periods they are.

    Raises:
        InvalidInput: if the window is empty, its end lies before its start, or no period begins at one of them.
    """

    start: Period
    end: Period
    timezone: str
    length: timedelta = A_DAY

    def __post_init__(self) -> None:
        calendar = self.calendar
        try:
            exact = calendar.require(self.start) == self.start and calendar.require(self.end) == self.end
        except ValueError as error:
            raise InvalidInput(f"the window {self}: {error}") from None
        if not exact:
            raise InvalidInput(f"the window {self} is given in days, but its periods are {self.length} long")
        if self.end <= self.start:
            raise InvalidInput(
                f"the window {self} holds no {calendar.noun}; `end` is exclusive and must lie after `start`"
            )

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.timezone, self.length)

    @property
    def periods(self) -> list[Period]:
        return self.calendar.between(self.start, self.end)

    @property
    def start_at(self) -> datetime:
        return self.calendar.start_at(self.start)

    @property
    def end_at(self) -> datetime:
        return self.calendar.start_at(self.end)

    @property
    def local_days(self) -> tuple[date, date]:
        """The first local day that the window touches, and the day after the last."""
        if self.calendar.daily:
            return self.start, self.end
        return self.calendar.day_of(self.start), local_day(self.end_at - MICROSECOND, self.timezone) + A_DAY

    def in_periods(self, length: timedelta) -> Window:
        """The same local days, in periods of a length."""
        calendar, (first, after) = Calendar(self.timezone, length), self.local_days
        return Window(calendar.first_of(first), calendar.first_of(after), self.timezone, length)

    def between(self, start: Period, end: Period) -> Window:
        """Another window of the same calendar."""
        return replace(self, start=start, end=end)

    def widened(self, days: int, not_before: Period) -> Window:
        """The same window, reaching back by local days, from the first period on, but not past `not_before`."""
        start = max(self.calendar.back(self.start, days), not_before)
        return self.between(min(start, self.start), self.end)

    def require_within(self, start: date, end: date, what: str) -> Window:
        """This window, if it lies in the local days [start, end).

        Raises:
            InvalidInput: naming the days that `what` covers.
        """
        if self.start < self.calendar.first_of(start) or self.end > self.calendar.first_of(end):
            raise InvalidInput(f"the window {self} leaves {what}, which cover {start} to {end} (end exclusive)")
        return self
