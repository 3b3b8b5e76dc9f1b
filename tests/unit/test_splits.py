"""Windows are cut by time with the embargo between them, and an embargo that lets labels leak is refused."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.context import Context
from pipelines.errors import InvalidInput
from pipelines.features.splits import split_windows
from pipelines.instants import midnight
from pipelines.params import Splits
from pipelines.steps import execute

ZONE = "America/New_York"


def usecase(maturity: timedelta) -> Any:
    return SimpleNamespace(timezone=ZONE, start=date(2013, 1, 1), end=date(2014, 1, 1), maturity=maturity)


def splits(embargo: int, train: int = 365, validation: int = 31, test: int = 31) -> Splits:
    return Splits(train_days=train, validation_days=validation, test_days=test, embargo_days=embargo)


@given(
    st.dates(date(2013, 1, 2), date(2014, 1, 1)),
    st.integers(0, 5),
    st.tuples(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60)),
    st.integers(0, 120),
)
def test_each_window_begins_an_embargo_after_the_one_before(
    day: date, embargo: int, days: tuple[int, int, int], hours: int
) -> None:
    maturity = timedelta(hours=hours)
    as_of: datetime = midnight(day, ZONE)
    try:
        windows = split_windows(as_of, usecase(maturity), splits(embargo, *days))
    except InvalidInput:
        assume(False)
    train, validation, test = (windows[name] for name in ("train", "validation", "test"))
    assert validation.start - train.end == test.start - validation.end == timedelta(embargo) >= maturity
    assert date(2013, 1, 1) <= train.start < train.end and test.end == day


@pytest.mark.parametrize(("embargo", "hours"), [(0, 1), (1, 36), (2, 49)])
def test_an_embargo_shorter_than_the_label_takes_is_refused(embargo: int, hours: int) -> None:
    as_of, needed = midnight(date(2013, 9, 1), ZONE), embargo + 1
    with pytest.raises(InvalidInput, match=rf"embargo_days is {embargo}, shorter .* set it to at least {needed}"):
        split_windows(as_of, usecase(timedelta(hours=hours)), splits(embargo))
    assert split_windows(as_of, usecase(timedelta(hours=hours)), splits(needed))


def test_the_step_refuses_it_before_anything_is_read(toy: Context) -> None:
    short = toy.params.splits.model_copy(update={"embargo_days": 0})
    context = Context(toy.settings, toy.params.model_copy(update={"splits": short}), toy.usecase)
    asked = {"as_of": "2024-04-30", "data_version": "d1", "run": "r1"}
    with pytest.raises(InvalidInput, match="embargo_days is 0, shorter than the label's maturity"):
        execute("build_training_set", asked, context)
