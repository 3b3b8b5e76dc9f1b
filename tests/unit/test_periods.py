"""Periods tile every local day, have sortable names, and are distinct where clocks are set back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.instants import from_micros, micros, midnight
from pipelines.periods import A_DAY, Calendar, name_of, parse_name
from pipelines.sources.partitioning import partition_of
from pipelines.usecase import RawTable, calendar_of
from pipelines.validation.asking import sql_end, sql_partition
from pipelines.windows import Window
from tests.toy import USECASE

NEW_YORK = "America/New_York"
ZONES = [
    NEW_YORK,
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "UTC",
]  # a zone with half hours
lengths = st.sampled_from([timedelta(minutes=m) for m in range(1, 1441) if 1440 % m == 0])
days = st.dates(date(2000, 1, 1), date(2037, 12, 31))
calendars = st.builds(Calendar, st.sampled_from(ZONES), lengths)
FORWARD, BACK = date(2013, 3, 10), date(2013, 11, 3)  # in New York
HOURS = Calendar(NEW_YORK, timedelta(hours=1))
YEAR = [micros(datetime(year, 1, 1, tzinfo=UTC)) for year in (2013, 2014)]


@given(calendars, days)
def test_the_periods_of_a_day_tile_it(calendar: Calendar, day: date) -> None:
    periods = calendar.of_day(day)
    bounds = [*map(calendar.start_at, periods), calendar.end_at(periods[-1])]
    assert bounds[0] == midnight(day, calendar.timezone) and bounds[-1] == midnight(day + A_DAY, calendar.timezone)
    between = [b - a for a, b in pairwise(bounds)]
    assert all(timedelta(0) < one for one in between)
    if calendar.daily:
        assert len(periods) == 1
    else:
        assert all(one == calendar.length for one in between[:-1]) and between[-1] <= calendar.length
    assert {calendar.day_of(period) for period in periods} == {day}
    assert calendar.first_of(day) == periods[0]
    assert [calendar.after(period) for period in periods] == [*periods[1:], calendar.first_of(day + A_DAY)]


@given(calendars, days, st.integers(0, 3), st.integers(0, 86_399))
def test_every_instant_lies_in_one_period(calendar: Calendar, day: date, ahead: int, second: int) -> None:
    instant = midnight(day, calendar.timezone) + timedelta(seconds=second)
    period = calendar.containing(instant)
    assert calendar.start_at(period) <= instant < calendar.end_at(period)
    assert calendar.require(period) == calendar.require(period.isoformat()) == period
    assert parse_name(name_of(period)) == period
    reached = calendar.ahead(period, ahead)
    assert reached[0] == period and calendar.day_of(reached[-1]) == calendar.day_of(period) + timedelta(ahead)
    assert calendar.back(reached[-1], ahead) == calendar.first_of(calendar.day_of(period))


@given(calendars, days, st.integers(1, 3))
def test_names_sort_like_periods_and_windows_hold_the_periods_between(
    calendar: Calendar, day: date, count: int
) -> None:
    after = day + timedelta(count)
    window = Window(calendar.first_of(day), calendar.first_of(after), calendar.timezone, calendar.length)
    names = [name_of(period) for period in window.periods]
    assert names == sorted(names) and len(set(names)) == len(names)
    assert window.periods == [one for n in range(count) for one in calendar.of_day(day + timedelta(n))]
    assert window.local_days == (day, after)
    middle = window.periods[len(window.periods) // 2]
    if middle != window.start:
        parts = window.between(window.start, middle), window.between(middle, window.end)
        assert [one for part in parts for one in part.periods] == window.periods


@given(calendars, st.lists(st.integers(*YEAR)))
def test_a_column_of_instants_is_partitioned_like_single_instants(calendar: Calendar, instants: list[int]) -> None:
    column = pa.chunked_array([pa.array([None, *instants], pa.timestamp("us", "UTC"))])
    names = partition_of(column, RawTable("t", (), {}, day="at"), calendar).to_pylist()
    assert names == [None, *(calendar.containing(from_micros(one)) for one in instants)]


def test_days_on_which_clocks_change_have_another_number_of_hours() -> None:
    assert [len(HOURS.of_day(day)) for day in (FORWARD, BACK, date(2013, 6, 1))] == [23, 25, 24]
    quarters = Calendar(NEW_YORK, timedelta(hours=6))
    last = quarters.of_day(BACK)[-1]
    assert len(quarters.of_day(BACK)) == 5 and quarters.end_at(last) - quarters.start_at(last) == timedelta(hours=1)
    assert name_of(HOURS.of_day(BACK)[2]) == "2013-11-03T060000Z"


@pytest.mark.parametrize(
    ("given", "period"),
    [
        ("2013-06-01", datetime(2013, 6, 1, 4, tzinfo=UTC)),
        (date(2013, 6, 1), datetime(2013, 6, 1, 4, tzinfo=UTC)),
        ("2013-06-01T05:00", datetime(2013, 6, 1, 9, tzinfo=UTC)),
        ("2013-11-03T01:00:00-05:00", datetime(2013, 11, 3, 6, tzinfo=UTC)),
    ],
)
def test_a_period_can_be_given_as_a_day_a_local_time_or_an_instant(given: object, period: datetime) -> None:
    assert HOURS.require(given) == period


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("2013-11-03T01:00", "two periods begin at 2013-11-03T01:00 in America/New_York; give a local day, or"),
        ("2013-03-10T02:00", "no period begins at 2013-03-10T02:00 in America/New_York"),
        ("2013-06-01T05:30:00Z", "no period begins at 2013-06-01T05:30:00Z .*such as 2013-09-01T06:00:00Z"),
        ("yesterday", "'yesterday' is no period"),
        (5, "5 is no period"),
    ],
)
def test_a_text_that_names_no_single_period_is_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HOURS.require(given)


def test_only_days_name_periods_where_periods_are_days() -> None:
    calendar = Calendar(NEW_YORK)
    assert calendar.require("2013-11-03T04:00:00Z") == calendar.require("2013-11-03") == BACK
    with pytest.raises(ValueError, match="no day begins at 2013-11-03T06:00:00Z"):
        calendar.require("2013-11-03T06:00:00Z")
    with pytest.raises(ValueError, match="'2013-13-01' is no day; give a day such as 2013-09-01"):
        calendar.require("2013-13-01")


@pytest.mark.parametrize("length", [timedelta(0), timedelta(days=2), timedelta(hours=5), timedelta(seconds=90), -A_DAY])
def test_a_length_that_does_not_divide_a_day_is_refused(length: timedelta) -> None:
    with pytest.raises(InvalidInput, match="does not divide a day into equal parts of whole minutes"):
        Calendar("UTC", length)


def test_a_window_must_be_given_in_periods_of_its_calendar() -> None:
    with pytest.raises(InvalidInput, match="is given in days, but its periods are 1:00:00 long"):
        Window(date(2024, 3, 1), date(2024, 3, 2), "UTC", timedelta(hours=1))
    with pytest.raises(InvalidInput, match="no day begins at"):
        Window(datetime(2024, 3, 1, 5, tzinfo=UTC), date(2024, 3, 2), "UTC")
    with pytest.raises(InvalidInput, match="holds no period; `end` is exclusive"):
        Window(five := datetime(2024, 3, 1, 5, tzinfo=UTC), five, "UTC", timedelta(hours=1))


@pytest.mark.parametrize("kind", ["date32", "timestamp[us]"])
def test_a_column_that_does_not_determine_the_period_of_a_row_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = RawTable("readings", ("pump",), {"at": kind}, day="at")
    monkeypatch.setattr(type(USECASE), "tables", (table,))
    monkeypatch.setattr(type(USECASE), "period", timedelta(hours=1), raising=False)
    usecase = type(USECASE)(tables=(table,))
    with pytest.raises(InvalidInput, match=f"column at is declared as {kind}".replace("[", r"\[")):
        calendar_of(usecase)


def test_years_at_the_ends_of_the_calendar() -> None:
    early = Calendar("UTC", timedelta(hours=1)).of_day(date(1, 1, 1))[5]
    assert name_of(early) == "0001-01-01T050000Z" and parse_name(name_of(early)) == early
    for name in ("2024-3-1", "2024-03-01T06", "2024-03-01T060000", "all", ""):
        with pytest.raises(ValueError, match="names no period"):
            parse_name(name)


@given(calendars, days, st.integers(0, 1439))
def test_sql_knows_the_period_of_a_name_and_when_it_ends(calendar: Calendar, day: date, number: int) -> None:
    periods = calendar.of_day(day)
    period = periods[number % len(periods)]
    of = sql_partition(f"'{name_of(period)}'", calendar)
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        (row,) = database.sql(f"select epoch_us({of}), epoch_us({sql_end(of, calendar)})").fetchall()
    begins = period.replace(tzinfo=UTC) if isinstance(period, datetime) else datetime.combine(period, time(), UTC)
    assert row == (micros(begins), micros(calendar.end_at(period)))
