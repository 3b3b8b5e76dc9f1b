"""The flights keep the contract of a use case."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import date, timedelta

import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contract.checks import CHECKS, ask
from pipelines.contract.subject import CheckedUseCase
from pipelines.instants import midnight
from pipelines.usecases.flights.departures import query
from pipelines.usecases.flights.knowledge import HAPPENS, as_known
from pipelines.windows import Window
from tests.examples import costly, seeds
from tests.flights.sources import PARAMS, USECASE, tables
from tests.services import thorough

WINTER = (date(2013, 1, 1), date(2013, 1, 9), date(2013, 1, 12), date(2013, 1, 15))
SPRING = (date(2013, 3, 1), date(2013, 3, 8), date(2013, 3, 12), date(2013, 3, 14))  # the clocks change
LONG = (date(2013, 1, 1), date(2013, 1, 22), date(2013, 2, 5), date(2013, 2, 8))
QUICK = ("features-columns", "alone", "labels", "requests", "examples")


@functools.cache
def subject(first: date, start: date, end: date, last: date) -> CheckedUseCase:
    """The flights from `start` up to `end`, with the days from `first` up to `last`."""
    reach = Window(first, last, USECASE.timezone)
    return CheckedUseCase(
        USECASE, PARAMS.features.service, reach.between(start, end), reach, tables(first, last), seed=1
    )


@pytest.mark.parametrize(
    ("name", "days"), [*((name, days) for name in QUICK for days in (WINTER, SPRING)), ("live", SPRING)]
)
def test_a_check_passes(name: str, days: tuple[date, date, date, date]) -> None:
    answer = ask(name, subject(*days))
    assert (answer.mark, answer.findings) == ("ok", [])


@thorough
@pytest.mark.parametrize("seed", seeds(1, 20))
@pytest.mark.parametrize("name", CHECKS)
def test_a_check_passes_over_two_weeks_for_any_seed(name: str, seed: int) -> None:
    if name == "outcomes" and seed:
        pytest.skip("by chance one AUC in 370 lies outside")
    answer = ask(name, replace(subject(*LONG), seed=seed))
    assert (answer.mark, answer.findings) == ("ok", [])


@costly()
@given(minutes=st.integers(0, 6 * 24 * 60))
def test_records_as_known_at_an_instant_hold_exactly_the_events_before_it(minutes: int) -> None:
    """So the checks that set records back to an instant hide later events, and nothing else."""
    whole = subject(*WINTER).tables
    at = midnight(WINTER[1], USECASE.timezone) + timedelta(minutes=minutes)
    now = as_known(whole, at)
    rows, all_rows = (query("select * from departures order by all", one, {}).to_pandas() for one in (now, whole))
    assert (rows.dep_at.dropna() <= at).all() and (rows.arr_at.dropna() <= at).all()
    began = all_rows[all_rows.day_began_at <= at]
    assert len(rows) == len(began) <= len(all_rows)
    assert at >= all_rows.day_began_at.max() or len(began) < len(all_rows)
    for happens, columns in HAPPENS.items():
        assert rows[happens].notna().sum() == (began[happens] <= at).sum()
        for column in columns:
            assert rows[column].notna().sum() == began[column][began[happens] <= at].notna().sum()
    assert pc.max(now["weather"]["time_hour"]).as_py() == at.replace(minute=0) - timedelta(hours=1)
    assert now["flights"].schema == whole["flights"].schema and now["planes"] is whole["planes"]
