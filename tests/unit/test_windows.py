from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.instants import midnight
from pipelines.windows import Window

ZONES = ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "UTC"]


@given(st.dates(date(2000, 1, 1), date(2040, 1, 1)), st.integers(1, 400), st.sampled_from(ZONES))
def test_days_tile_the_window_and_bounds_are_their_midnights(start: date, days: int, zone: str) -> None:
    window = Window(start, start + timedelta(days), zone)
    assert len(window.periods) == days
    assert window.start_at == midnight(window.periods[0], zone)
    assert window.end_at == midnight(window.periods[-1] + timedelta(1), zone)


@pytest.mark.parametrize("end", [date(2013, 1, 1), date(2012, 12, 31)])
def test_an_empty_window_is_refused(end: date) -> None:
    with pytest.raises(InvalidInput, match="holds no day"):
        Window(date(2013, 1, 1), end, "UTC")


def test_a_window_reaches_back_but_not_past_the_first_day() -> None:
    window = Window(date(2013, 1, 10), date(2013, 1, 11), "UTC")
    assert window.widened(3, date(2013, 1, 1)).start == date(2013, 1, 7)
    assert window.widened(30, date(2013, 1, 1)).start == date(2013, 1, 1)
