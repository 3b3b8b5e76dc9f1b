"""Windows are split by time with the embargo between them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.features.splits import split_windows
from pipelines.instants import midnight
from pipelines.params import Splits

ZONE = "America/New_York"


USECASE: Any = SimpleNamespace(timezone=ZONE, start=date(2013, 1, 1), end=date(2014, 1, 1))


def splits(embargo: int, train: int = 365, validation: int = 31, test: int = 31) -> Splits:
    return Splits(train_days=train, validation_days=validation, test_days=test, embargo_days=embargo)


@given(
    st.dates(date(2013, 1, 2), date(2014, 1, 1)),
    st.integers(0, 5),
    st.tuples(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60)),
)
def test_each_window_begins_an_embargo_after_the_one_before(
    day: date, embargo: int, days: tuple[int, int, int]
) -> None:
    as_of: datetime = midnight(day, ZONE)
    try:
        windows = split_windows(as_of, USECASE, splits(embargo, *days))
    except InvalidInput:
        assume(False)
    train, validation, test = (windows[name] for name in ("train", "validation", "test"))
    assert validation.start - train.end == test.start - validation.end == timedelta(embargo)
    assert date(2013, 1, 1) <= train.start < train.end and test.end == day
