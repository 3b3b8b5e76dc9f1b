"""Instants, their local days and microseconds, in Python and in DuckDB's SQL. A leaf; `arrow` has columns of them.

An instant is an aware datetime or, where many are compared, a whole number of microseconds since 1970 in UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from pipelines.errors import InvalidInput
from pipelines.quoting import literal

Ambiguous = Literal["refuse", "first", "second"]  # which instant a local time is that clocks show twice
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)  # between neighbouring instants: that much before an exclusive end is the last
SECOND = 1_000_000  # microseconds


def utc(instant: datetime) -> datetime:
    """The instant in UTC; one without a zone is taken to be in UTC."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def micros(instant: datetime) -> int:
    """Microseconds since 1970; an instant without a zone is taken to be in UTC."""
    return ((instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


def from_micros(microseconds: int) -> datetime:
    """The instant (UTC) that is so many microseconds after the beginning of 1970.

    Raises:
        OverflowError: if it is before the year 1 or after 9999.
    """
    return EPOCH + timedelta(microseconds=microseconds)


def local(instant: datetime, timezone: str) -> datetime:
    """An aware instant as clocks in `timezone` show it."""
    return instant.astimezone(ZoneInfo(timezone))


def read_from(at: datetime, timezone: str, ambiguous: Ambiguous) -> datetime:
    """The first local time (without a zone) that stands for `at` or a later instant.

    Args:
        ambiguous: which instant a local time is that clocks show twice; where it is refused, either will do.
    """
    shown = local(at, timezone)
    naive = shown.replace(tzinfo=None, fold=0)
    before, after = (shown.replace(fold=fold).utcoffset() or timedelta(0) for fold in (0, 1))
    if before <= after or ambiguous == "refuse" or ambiguous == ("first", "second")[shown.fold]:
        return naive
    early = at - (before - after) if shown.fold else at
    late = early + (before - after)
    while late - early > MICROSECOND:  # until `late` is the instant at which clocks are set back
        middle = early + (late - early) // 2
        early, late = (middle, late) if local(middle, timezone).utcoffset() == before else (early, middle)
    begins = local(late, timezone).replace(tzinfo=None, fold=0)
    return begins + (before - after) if shown.fold else begins


def local_day(instant: datetime, timezone: str) -> date:
    """The day in `timezone` to which an aware instant belongs."""
    return local(instant, timezone).date()


@lru_cache(maxsize=4096)  # asked for every request and period
def midnight(day: date, timezone: str) -> datetime:
    """The instant (UTC) at which `day` begins in `timezone`.

    Raises:
        InvalidInput: if it is before the year 1 or after 9999.
    """
    try:
        return datetime.combine(day, time.min, ZoneInfo(timezone)).astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{day} in {timezone} begins outside of the years 1 to 9999 of UTC; correct it") from None


def sql_micros(instant: str) -> str:
    """SQL of microseconds since 1970, of an expression in SQL. What is finer than a microsecond counts as the next."""
    nanos = f"(epoch_ns({instant}) // 1000 + (epoch_ns({instant}) % 1000 > 0)::bigint)"
    return f"case when typeof({instant}) like '%_NS' then {nanos} else epoch_us({instant}::timestamptz) end"


def sql_midnight(day: str, timezone: str) -> str:
    """SQL of the instant at which a day begins in `timezone`, of an expression in SQL."""
    return f"timezone({literal(timezone)}, ({day})::timestamp)"
