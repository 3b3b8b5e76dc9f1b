"""Days on which a business is closed, so that nothing of it is missing: declared by the use case as `closed`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, get_args

from pipelines.errors import InvalidInput

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
A_DAY, WEEK = timedelta(days=1), 7


@dataclass(frozen=True)
class Closed:
    """Local days without rows of their own. Rows that such a day has nevertheless count as on any other.

    Raises:
        InvalidInput: if a weekday has another name, or all are closed.
    """

    weekdays: tuple[Weekday, ...] = ()
    dates: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if unknown := set(self.weekdays) - set(WEEKDAYS):
            raise InvalidInput(f"closed: {sorted(unknown)} are no weekdays; choose from {', '.join(WEEKDAYS)}")
        if len(set(self.weekdays)) == WEEK:
            raise InvalidInput("closed: every weekday is closed; leave out those on which rows come")

    def on(self, day: date) -> bool:
        return WEEKDAYS[day.weekday()] in self.weekdays or day in self.dates

    @property
    def longest(self) -> int:
        """The most closed days in a row."""
        some = {date(2024, 1, 1), *self.dates}  # a Monday
        days = sorted({day + n * A_DAY for day in some for n in range(-WEEK, 2 * WEEK)})
        longest = run = 0
        for before, day in zip([None, *days], days, strict=False):
            run = (run if before is not None and day - before == A_DAY else 0) + 1 if self.on(day) else 0
            longest = max(longest, run)
        return longest


ALWAYS_OPEN = Closed()


def closed_of(usecase: object) -> Closed:
    """The closed days that a use case declares; none by default."""
    closed: Closed = getattr(usecase, "closed", ALWAYS_OPEN)
    return closed
