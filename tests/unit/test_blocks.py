"""Dependence blocks: of examples, of the log, and those that a look counts and records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.blocks import blocks_of
from pipelines.configuration import load_params
from pipelines.deployment.evidence import evidence
from pipelines.deployment.increments import MOST, recorded_increments
from pipelines.deployment.pairing import Look, paired
from pipelines.deployment.pulse import coarse
from pipelines.deployment.tally import RolloutTally, tally
from pipelines.judge import Blocks, Evidence
from pipelines.records import Observation, Plan
from pipelines.usecase import BLOCK, DAY, EXAMPLE_ID, day_block
from tests.conftest import TOY

BEGAN = datetime(2024, 4, 1, tzinfo=UTC)
MATURITY = timedelta(hours=10)
PLAN = Plan(1, "r", "shadow", "1", "u", "s", "2", "u2", "s2", 0.0, BEGAN)
WATCH = load_params(TOY).rollout.watch


def hours(number: float) -> datetime:
    return BEGAN + timedelta(hours=number)


def observation(at: float, block: str, closes: float, label: float | None = 0.0, known: float = 0.0) -> Observation:
    """A request `at` hours after the start; its label is known `known` hours later."""
    scores = {"1": 0.25, "2": 0.25 + 0.5 * np.sin(at) ** 2}
    known_at = None if label is None else hours(at + known)
    timing: dict[str, float] = {"1": 1.0, "2": 1.0}
    return Observation("pump", block, hours(closes), hours(at), 1, 0.0, "1", scores, timing, {}, label, known_at)


def look_at(log: Sequence[Observation], now: float) -> tuple[pd.DataFrame, Evidence]:
    """What a look sees of a log: rows and labels from before it."""
    look = Look(hours(now), BEGAN, "1", "2", [PLAN], "shadow", ["shadow"], MATURITY, 0.2, None, 100)
    known = [
        row if row.known_at is None or row.known_at < look.now else row._replace(label=None, known_at=None)
        for row in sorted(log, key=lambda row: row.predicted_at)
        if row.predicted_at < look.now
    ]
    frame = pd.DataFrame(known, columns=list(Observation._fields))
    instants = {name: pd.to_datetime(frame[name], utc=True) for name in ("closes_at", "predicted_at", "known_at")}
    rows = paired(frame.assign(**instants), look)
    return rows, evidence(tally(rows, look, WATCH, RolloutTally()), look, WATCH)


def increments(log: Sequence[Observation], now: float) -> Mapping[str, float]:
    means: Mapping[str, float] = recorded_increments(look_at(log, now)[1].blocks)["increments"]
    return means


def test_the_block_of_a_day_closes_at_the_next_local_midnight() -> None:
    assert day_block(datetime(2024, 3, 31, 3, tzinfo=UTC), "America/New_York") == (
        "2024-03-30",
        datetime(2024, 3, 31, 4, tzinfo=UTC),
    )
    assert day_block(hours(0), "UTC").closes_at == hours(24), "midnight belongs to the day that begins"


def test_examples_without_a_block_column_have_days_as_blocks_and_null_blocks_are_single_rows() -> None:
    frame = pd.DataFrame({EXAMPLE_ID: ["a", "b", "c"], DAY: [date(2024, 3, 1)] * 2 + [date(2024, 3, 2)]})
    assert blocks_of(frame).tolist() == ["2024-03-01", "2024-03-01", "2024-03-02"]
    assert blocks_of(frame.assign(**{BLOCK: pd.Series(["x", None, "x"])})).tolist() == ["x", "b", "x"]
    assert blocks_of(frame.assign(**{BLOCK: None})).tolist() == ["a", "b", "c"], (
        "rows with a null block are independent"
    )


def test_a_block_counts_once_its_labels_have_matured() -> None:
    log = [observation(1, "x", 4), observation(3, "x", 4), observation(2, "alone", 2)]
    assert set(increments(log, 11.9)) == set()
    assert set(increments(log, 12)) == {"alone"}
    assert set(increments(log, 13.9)) == {"alone"} and set(increments(log, 14)) == {"alone", "x"}


def test_a_request_after_the_closing_of_its_block_counts_in_no_block() -> None:
    log = [observation(1, "x", 4), observation(3, "x", 4)]
    late = [*log, observation(5, "x", 4), observation(6, "y", 2)]
    rows, result = look_at(late, 20)
    assert result.blocks.ids == ("x",) and result.blocks.rows.tolist() == [2]
    assert increments(late, 20) == increments(log, 20)
    assert rows.closes.isna().sum() == 2 and len(result.differences) == 4, "as a row it is evidence of a catastrophe"


def test_a_late_request_does_not_count_as_missing_before_its_own_label_is_due() -> None:
    log = [observation(1, "x", 4), *(observation(13, "x", 4, label=None) for _ in range(5))]
    assert not look_at(log, 22)[1].flags.missing_data
    assert look_at(log, 23)[1].flags.missing_data


def test_the_first_request_of_a_block_sets_its_closing() -> None:
    """As where records from two versions of the code name two closing instants for one day."""
    log = [observation(1, "x", 8), observation(5, "x", 4), observation(2, "x", 30)]
    assert increments(log, 17.9) == {} and look_at(log, 18)[1].blocks.rows.tolist() == [3]


LOGS = st.lists(
    st.builds(
        observation,
        at=st.integers(0, 80).map(lambda n: n / 2),
        block=st.sampled_from("abc"),
        closes=st.integers(0, 80).map(lambda n: n / 2),
        label=st.sampled_from([0.0, 1.0, None]),
        known=st.integers(0, 40).map(lambda n: n / 2),
    ),
    min_size=1,
    max_size=20,
)


@given(LOGS, st.integers(1, 120), st.integers(0, 120))
def test_later_requests_and_labels_never_change_a_block_that_had_matured(
    log: list[Observation], first: int, later: int
) -> None:
    """Whatever closing they name: a block that a look has counted does not change."""
    alone = [row._replace(block=f"alone {n}", closes_at=row.predicted_at) for n, row in enumerate(log[::3])]
    everything = [*log, *alone]
    if min(row.predicted_at for row in everything) < hours(first / 2):
        before, after = increments(everything, first / 2), increments(everything, (first + later) / 2)
        assert before.items() <= after.items()


def blocks(count: int) -> Blocks:
    ids = tuple(f"b{n:05}" for n in range(count))
    return Blocks(ids, np.arange(count) / 1000, np.ones(count, int), np.zeros(count, int))


def test_a_decision_records_a_digest_in_place_of_very_many_blocks() -> None:
    each = recorded_increments(blocks(MOST))
    assert each == {"increments": {f"b{n:05}": n / 1000 for n in range(MOST)}}
    whole = {f"b{n:05}": n / 1000 for n in range(MOST + 1)}
    short = recorded_increments(blocks(MOST + 1))
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    mean = pytest.approx(sum(whole.values()) / len(whole))
    assert short == {"increments": None, "increments_in_short": {"blocks": MOST + 1, "mean": mean, "sha256": digest}}


@given(st.integers(0, 10**9))
def test_a_coarse_count_rises_in_steps_of_a_sixteenth_to_an_eighth(count: int) -> None:
    rounded = coarse(count)
    assert rounded <= count and (rounded == count if count < 16 else count - rounded < count / 8)
    assert coarse(rounded) == rounded and coarse(count + 1) >= rounded
    steps: Any = {coarse(n) for n in range(1000)}
    assert len(steps) < 70
