"""Periods: the pieces of local days by which the chain works, whole days unless a use case declares a shorter length.

A period is named by its beginning: by its date where periods are days, else by an instant (UTC). The periods of a local
day are counted from its midnight, so a day on which clocks change has more or fewer of them. The last one ends with the
day, however short it is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from pydantic import PlainSerializer, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from pipelines.errors import InvalidInput
from pipelines.instants import local, local_day, midnight, utc

Period = date  # an instant is a date as well, to Python's types; a use case never mixes the two
A_DAY, A_MINUTE = timedelta(days=1), timedelta(minutes=1)
NAME = re.compile(r"\d{4}-\d{2}-\d{2}(?:T\d{6}Z)?")


def name_of(period: Period) -> str:
    """The name of a period in paths and records; names sort as periods do."""
    text = period.isoformat()
    return f"{text[:19].replace(':', '')}Z" if isinstance(period, datetime) else text  # no colon in names of files


def parse_name(name: str) -> Period:
    """The period of a name.

    Raises:
        ValueError: if the name is of another form.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no period")
    if "T" in name:
        return datetime.fromisoformat(name).astimezone(UTC)
    return date.fromisoformat(name)


def period_of(text: str) -> Period:
    """The period of its ISO form, as steps take and give it.

    Raises:
        ValueError: if it is neither a date nor an instant with its offset from UTC.
    """
    given = _parsed(text)
    if isinstance(given, datetime) and given.tzinfo is not None:
        return given.astimezone(UTC)
    return date.fromisoformat(text)


@dataclass(frozen=True)
class Calendar:
    """The periods of a use case.

    Attributes:
        timezone: IANA zone of the local days.
        length: of a period; whole minutes that divide 24 hours.

    Raises:
        InvalidInput: if the length is none of these.
    """

    timezone: str
    length: timedelta = A_DAY

    def __post_init__(self) -> None:
        if not timedelta(0) < self.length <= A_DAY or self.length % A_MINUTE or A_DAY % self.length:
            raise InvalidInput(
                f"a period of {self.length} does not divide a day into equal parts of whole minutes; choose a length "
                "such as 15 minutes, 1 hour or 1 day"
            )

    @property
    def daily(self) -> bool:
        """Whether periods are days."""
        return self.length == A_DAY

    @property
    def noun(self) -> str:
        """What a message calls a period."""
        return "day" if self.daily else "period"

    def first_of(self, day: date) -> Period:
        """The period with which a local day begins."""
        return day if self.daily else midnight(day, self.timezone)

    def of_day(self, day: date) -> list[Period]:
        """The periods of a local day, in order."""
        if self.daily:
            return [day]
        begins, ends = midnight(day, self.timezone), midnight(day + A_DAY, self.timezone)
        return [begins + n * self.length for n in range(-((begins - ends) // self.length))]

    def day_of(self, period: Period) -> date:
        """The local day to which a period belongs."""
        return local_day(period, self.timezone) if isinstance(period, datetime) else period

    def containing(self, instant: datetime) -> Period:
        """The period in which an instant lies."""
        day = local_day(instant, self.timezone)
        if self.daily:
            return day
        begins = midnight(day, self.timezone)
        return begins + (utc(instant) - begins) // self.length * self.length

    def after(self, period: Period) -> Period:
        """The next period."""
        if not isinstance(period, datetime):
            return period + A_DAY
        return min(period + self.length, midnight(self.day_of(period) + A_DAY, self.timezone))

    def start_at(self, period: Period) -> datetime:
        """The instant (UTC) at which a period begins."""
        return period if isinstance(period, datetime) else midnight(period, self.timezone)

    def end_at(self, period: Period) -> datetime:
        """The instant (UTC) at which a period ends."""
        return self.start_at(self.after(period))

    def between(self, start: Period, end: Period) -> list[Period]:
        """The periods from `start` up to, not including, `end`."""
        if self.daily:
            return [start + timedelta(n) for n in range((end - start).days)]
        first, last = self.day_of(start), self.day_of(end)
        periods = [one for n in range((last - first).days + 1) for one in self.of_day(first + timedelta(n))]
        return periods[bisect_left(periods, start) : bisect_left(periods, end)]

    def back(self, period: Period, days: int) -> Period:
        """The first period of those that belong to the period's local day or to the `days` before it."""
        return self.first_of(self.day_of(period) - timedelta(days))

    def earlier(self, period: Period, days: int) -> Period:
        """The period that lies some days before; of shorter ones, that of the instant so many times 24 hours before."""
        if isinstance(period, datetime):
            return self.containing(period - timedelta(days))
        return period - timedelta(days)

    def ahead(self, period: Period, days: int) -> list[Period]:
        """The period and those after it that belong to its local day or to the `days` after it."""
        return self.between(period, self.first_of(self.day_of(period) + timedelta(days + 1)))

    def require(self, value: object) -> Period:
        """The period that begins at a date or an instant, or at such a one in ISO form.

        A date stands for the first period of that local day, an instant without an offset for a local time.

        Raises:
            ValueError: if no period begins there, or two do since clocks were set back.
        """
        given = _parsed(value) if isinstance(value, str) else value
        if isinstance(given, datetime):
            begins = self._beginnings(given)
            if len(begins) != 1:
                several = "two periods begin" if begins else f"no {self.noun} begins"
                raise ValueError(f"{several} at {value} in {self.timezone}; give {self.example}")
            return begins[0]
        if not isinstance(given, date):
            raise ValueError(f"{value!r} is no {self.noun}; give {self.example}")
        return self.first_of(given)

    def flags(self, first: Period, last: Period) -> str:
        """The inputs of a step for the periods from the first to the last, as a person types them."""
        return f"--start {first.isoformat()} --end {self.after(last).isoformat()}"

    @property
    def example(self) -> str:
        """What a message asks for."""
        if self.daily:
            return "a day such as 2013-09-01"
        return f"a local day, or the beginning of a period of {self.length} such as 2013-09-01T06:00:00Z"

    def _beginnings(self, instant: datetime) -> list[Period]:
        """The periods that begin at an instant; one without a zone is a local time."""
        if instant.tzinfo is None:
            shown = {one: local(self.start_at(one), self.timezone) for one in self.of_day(instant.date())}
            return [one for one, clock in shown.items() if clock.replace(tzinfo=None) == instant]
        period = self.containing(instant)
        return [period] if self.start_at(period) == instant else []


def _parsed(text: str) -> object:
    """A date or an instant from its ISO form; the text itself where it is neither."""
    for kind in (date, datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            continue
    return text


def _validated(value: Any, as_date: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Period:
    calendar: Calendar | None = (info.context or {}).get("calendar")
    if calendar is not None and not calendar.daily:
        return calendar.require(value)
    given = _parsed(value) if isinstance(value, str) else value
    if calendar is None and isinstance(given, datetime) and given.tzinfo is not None:
        return given.astimezone(UTC)
    period: Period = as_date(value)
    return period


PeriodField = Annotated[
    Period, WrapValidator(_validated), PlainSerializer(lambda one: one.isoformat(), str, when_used="json")
]
"""A period in a model, in ISO form in JSON; of `calendar` in the validation's context, where there is one."""
