from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.training.folds import rolling_origin

START = date(2024, 1, 1)


def span(days: int) -> list[date]:
    return [START + timedelta(n) for n in range(days)]


@given(
    st.sets(st.integers(0, 120), max_size=60).map(
        lambda gone: [day for n, day in enumerate(span(121)) if n not in gone]
    ),
    st.integers(1, 6),
    st.integers(1, 15),
    st.integers(0, 5),
)
def test_validation_days_follow_the_training_days_and_the_embargo(
    days: list[date], folds: int, fold_days: int, embargo: int
) -> None:
    try:
        splits = rolling_origin(days, folds, fold_days, embargo)
    except InvalidInput:
        assume(False)
    assert len(splits) == folds and splits[-1].validation[-1] == max(days)
    for fold in splits:
        assert fold.validation[0] > fold.train[-1] + timedelta(embargo)
        assert set(fold.train) | set(fold.validation) <= set(days)
        assert fold.validation[-1] - fold.validation[0] < timedelta(fold_days)
        assert fold.train == tuple(sorted(day for day in days if day <= fold.train[-1]))  # no day is left out
    for earlier, later in pairwise(splits):
        assert set(earlier.train) <= set(later.train) and earlier.validation[-1] < later.validation[0]


def test_folds_are_contiguous_and_training_grows() -> None:
    splits = rolling_origin(span(40), 3, 7, 2)
    assert [(len(fold.train), fold.validation[0], fold.validation[-1]) for fold in splits] == [
        (17, START + timedelta(19), START + timedelta(25)),
        (24, START + timedelta(26), START + timedelta(32)),
        (31, START + timedelta(33), START + timedelta(39)),
    ]


@pytest.mark.parametrize("days", [[], span(1), span(23)])
def test_too_few_days_are_refused_with_what_to_change(days: list[date]) -> None:
    with pytest.raises(InvalidInput, match=r"too few for 3 folds of 7 days .* lower training\.tuning\.folds"):
        rolling_origin(days, 3, 7, 2)
    assert len(rolling_origin(span(24), 3, 7, 2)) == 3
