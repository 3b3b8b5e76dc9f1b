"""Closed days: no data of theirs count as missing, and a feed that fails on an open day is still noticed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.closed import WEEKDAYS, Closed, closed_of
from pipelines.errors import CheckFailed, InvalidInput, MissingData
from pipelines.params.derived import Declared, defaults
from pipelines.periods import Calendar
from pipelines.steps import execute
from pipelines.validation.assessment import missing
from pipelines.validation.chunks import Partition
from tests.sources import FIRST, TABLE, context_over, rows, write_csv
from tests.toy import Pumps

A_DAY = timedelta(days=1)
WEEKEND = Closed(("saturday", "sunday"))


@given(
    st.sets(st.sampled_from(WEEKDAYS), max_size=6), st.sets(st.dates(date(2024, 1, 1), date(2024, 3, 1)), max_size=20)
)
def test_the_longest_run_of_closed_days_equals_a_count_over_years(weekdays: set[Any], dates: set[date]) -> None:
    closed = Closed(tuple(weekdays), frozenset(dates))
    longest = run = 0
    for number in range(-400, 800):
        run = run + 1 if closed.on(date(2024, 1, 1) + number * A_DAY) else 0
        longest = max(longest, run)
    assert closed.longest == longest


@pytest.mark.parametrize(("days", "message"), [(("sunnyday",), "no weekdays"), (WEEKDAYS, "every weekday is closed")])
def test_an_invalid_calendar_is_refused(days: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Closed(days)


def test_labels_may_pause_for_closed_days() -> None:
    def hours(closed: Closed) -> Any:
        declared = Declared(A_DAY, A_DAY, ("s",), closed.longest)
        return next(one.value for one in defaults(declared, {}) if one.key.endswith("max_label_age_hours"))

    assert (hours(Closed()), hours(WEEKEND)) == (72, 120)
    assert closed_of(object()) == Closed()


def partitions(first: date, counts: str) -> list[Partition]:
    return [Partition(first + n * A_DAY, int(count), "0" * 64) for n, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("counts", "closed", "days_a_week", "missed"),
    [
        ("1111100", WEEKEND, 7, ""),  # starting on a Monday
        ("1111000", WEEKEND, 7, "5"),
        ("0111100", WEEKEND, 7, "1"),
        ("1111110", Closed(dates=frozenset({date(2024, 1, 7)})), 7, ""),
        ("1101110", Closed(), 5, ""),
        ("1101010", Closed(), 5, "7"),  # a week may lack the third and the fifth
        ("1111111000", Closed(), 5, "10"),
        ("1111100110", WEEKEND, 6, ""),  # a closed day does not count as missing
    ],
)
def test_an_empty_day_is_missing_unless_it_is_closed_or_its_week_may_lack_days(
    counts: str, closed: Closed, days_a_week: int, missed: str
) -> None:
    first = date(2024, 1, 1)
    table = replace(TABLE, days_a_week=days_a_week)
    days = missing(table, partitions(first, counts), {}, Calendar("Europe/Berlin"), closed)
    expected = {int(missed)} if missed == "10" else {int(number) for number in missed}
    assert {(day - first).days + 1 for day in days} == expected


def test_the_days_before_the_window_count_for_its_weeks() -> None:
    table, first = replace(TABLE, days_a_week=5), date(2024, 1, 8)
    before = {first - n * A_DAY: n % 2 for n in range(1, 7)}
    assert missing(table, partitions(first, "0"), before, Calendar("Europe/Berlin"), Closed()) == [first]
    assert missing(table, partitions(first, "0"), dict.fromkeys(before, 1), Calendar("Europe/Berlin"), Closed()) == []


@pytest.mark.parametrize("gone", [0, 1], ids=["a closed day", "an open one"])
def test_an_absent_file_is_missing_on_open_days_only(tmp_path: Path, gone: int) -> None:
    """29 March 2024 is Good Friday."""
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}-{{day}}.csv"}
    context = context_over(tmp_path / "home", source)
    usecase: Any = Pumps(name="visits", tables=(TABLE,), feature_tables=())
    object.__setattr__(usecase, "closed", Closed(dates=frozenset({FIRST})))
    context = replace(context, usecase=usecase)
    day = FIRST + (1 - gone) * A_DAY
    some = [row for row in rows() if Calendar("Europe/Berlin").containing(row["at"]) == day]
    write_csv(tmp_path / f"visits-{day}.csv", some)
    window = {"start": str(FIRST), "end": str(FIRST + 2 * A_DAY)}
    if gone:
        with pytest.raises(MissingData, match="2024-03-30"):
            execute("ingest", window, context)
        return
    execute("ingest", window, context)
    with pytest.raises(CheckFailed) as error:  # the toy's expectations are about other columns
        execute("validate", window, context)
    assert "has no rows" not in str(error.value)
