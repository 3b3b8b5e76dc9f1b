"""Windows of whole local days, the unit of the chain's work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pipelines.errors import InvalidInput
from pipelines.instants import midnight


@dataclass(frozen=True)
class Window:
    """Local days from `start` up to, not including, `end`.

    Raises:
        InvalidInput: if the window is empty or its end lies before its start.
    """

    start: date
    end: date
    timezone: str

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise InvalidInput(
                f"the window {self.start} to {self.end} holds no day; `end` is exclusive and must lie after `start`"
            )

    @property
    def days(self) -> list[date]:
        return [self.start + timedelta(n) for n in range((self.end - self.start).days)]

    @property
    def start_at(self) -> datetime:
        return midnight(self.start, self.timezone)

    @property
    def end_at(self) -> datetime:
        return midnight(self.end, self.timezone)

    def widened(self, days: int, not_before: date) -> Window:
        """The same window, reaching back by `days` but not past `not_before`."""
        start = max(self.start - timedelta(days), not_before)
        return Window(min(start, self.start), self.end, self.timezone)

    def require_within(self, start: date, end: date, what: str) -> Window:
        """This window, if it lies in [start, end).

        Raises:
            InvalidInput: naming the days that `what` covers.
        """
        if self.start < start or self.end > end:
            raise InvalidInput(
                f"the window {self.start} to {self.end} leaves {what}, which cover {start} to {end} (end exclusive)"
            )
        return self
