"""Python and DuckDB agree on instants and on the local days to which they belong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.instants import (
    MICROSECOND,
    from_micros,
    local_day,
    micros,
    midnight,
    sql_micros,
    sql_midnight,
    utc,
)

ZONES = ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "UTC"]
DAYS = st.dates(date(1990, 1, 1), date(2036, 1, 1))


@given(st.datetimes(datetime(1, 1, 2), timezones=st.just(timezone(timedelta(hours=5, minutes=30)))))  # in UTC as well
def test_microseconds_convert_back_to_the_instant(at: datetime) -> None:
    assert from_micros(micros(at)) == at


def test_an_instant_without_a_zone_is_in_utc() -> None:
    noon = datetime(2013, 7, 1, 12)
    assert utc(noon) == datetime(2013, 7, 1, 12, tzinfo=UTC)
    assert micros(noon) == micros(utc(noon)) == 1_372_680_000_000_000


def test_midnight_follows_daylight_saving() -> None:
    assert midnight(date(2013, 3, 10), "America/New_York") == datetime(2013, 3, 10, 5, tzinfo=UTC)
    assert midnight(date(2013, 3, 11), "America/New_York") == datetime(2013, 3, 11, 4, tzinfo=UTC)


def test_a_midnight_outside_the_range_of_instants_is_refused() -> None:
    with pytest.raises(InvalidInput, match="outside of the years 1 to 9999"):
        midnight(date(1, 1, 1), "Asia/Kolkata")


@given(DAYS, st.sampled_from(ZONES))
def test_a_day_begins_at_its_midnight_and_not_a_microsecond_earlier(day: date, zone: str) -> None:
    begins = midnight(day, zone)
    assert local_day(begins, zone) == day
    assert local_day(begins - MICROSECOND, zone) == day - timedelta(1)


@pytest.mark.parametrize("zone", ZONES)
def test_days_begin_at_the_same_instants_in_sql_and_python(zone: str) -> None:
    days = [date(2013, 1, 1) + timedelta(n) for n in range(366)]
    sql = f"select {sql_micros(sql_midnight('day', zone))} from (select unnest(?::date[]) as day)"
    with duckdb.connect() as connection:
        begins = [row[0] for row in connection.execute(sql, [days]).fetchall()]
    assert begins == [micros(midnight(day, zone)) for day in days]


def test_sql_rounds_up_to_whole_microseconds() -> None:
    sql = f"select {sql_micros('stamp')} from (select make_timestamp_ns(unnest([0, 1, 1000, 1001])) as stamp)"
    with duckdb.connect() as connection:
        assert [row[0] for row in connection.execute(sql).fetchall()] == [0, 1, 1, 2]
