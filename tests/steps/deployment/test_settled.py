"""A look that reads only unsettled rows gives the same answer as one that reads all rows, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.context import Context
from pipelines.deployment import settled
from pipelines.deployment.completeness import Completeness
from pipelines.losses import LOSSES
from pipelines.records import Prediction, Records, Stretches
from pipelines.records.stretches import STRETCHES
from pipelines.sqlite import uri_of
from tests.postgres_fixtures import KINDS as DATABASES
from tests.postgres_fixtures import database, on_both
from tests.rollouts import Score, inverted, same
from tests.steps.deployment import rollout
from tests.steps.deployment.logs import (
    ROWS,
    Row,
    all_rows,
    decision_bits,
    hours,
    log_context,
    log_until,
    look_at,
    plans,
    prediction,
)
from tests.steps.deployment.rollout import MATURITY, champion_first, look, stage, start, traffic
from tests.steps.deployment.test_blocks import KINDS, declared


@pytest.fixture(scope="module", params=DATABASES)
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            uri = uri_of(tmp_path_factory.mktemp("records") / "records.db")
        else:
            uri = stack.enter_context(database(request.getfixturevalue("postgres_server")))
        every = Records(uri)
        stack.callback(every.engine.dispose)
        yield every


@dataclass(frozen=True)
class When:
    """A look `after` hours from the previous one (negative: before it), with a writer silent for some of them.

    Attributes:
        behind: whether some requests reach the log only after looks that should have seen them.
    """

    after: float
    silent: float
    behind: bool


LOOKS = st.lists(
    st.builds(
        When,
        after=st.sampled_from([0, 0.5, 7, 24, 24, 40, -30]),
        silent=st.sampled_from([0, 0, 0, 3]),
        behind=st.integers(0, 5).map(lambda n: n == 0),
    ),
    min_size=2,
    max_size=7,
)


@given(st.lists(ROWS, min_size=1, max_size=40), LOOKS, st.lists(st.integers(1, 90), max_size=4))
def test_an_incremental_look_equals_a_look_at_all_rows_whatever_the_log(
    records: Records, rows: list[Row], looks: list[When], changes: list[int]
) -> None:
    context, ramp, now = log_context(records), plans(changes), 20.0
    predictions = [prediction(number, row, ramp) for number, row in enumerate(rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settled, "LEAST", 1)
        for when in looks:
            now = max(now + when.after, 1.0)
            log_until(context, hours(now), predictions, rows, when.behind)
            complete = Completeness(hours(now - when.silent), (), hours(now), ())
            look = look_at(complete.until, ramp)
            reading = settled.read(context, "r", look, complete)
            assert decision_bits(reading.seen, look) == decision_bits(all_rows(context, look, complete), look)
            settled.keep(reading, context, "r")


def day_rows(days: int, a_day: int = 20) -> list[Row]:
    def row(n: int) -> Row:
        faults = ("", "no output" if n % 11 == 0 else "")
        return Row(24 * n / a_day, "day", 0.0, n % 30, 12.0, float(n % 3 == 0), faults, "x", False)

    return [row(n) for n in range(days * a_day)]


def reading_at(context: Any, day: int, rows: Sequence[Row], **changes: Any) -> settled.LookReading:
    """An incremental look at the end of a day, checked against one at all rows."""
    predictions, now = [prediction(number, row, plans([])) for number, row in enumerate(rows)], hours(24 * day + 0.5)
    log_until(context, now, predictions, rows)
    complete, look = Completeness(now, (), now, ()), look_at(now, plans([]), **changes)
    reading = settled.read(context, "r", look, complete)
    assert decision_bits(reading.seen, look) == decision_bits(all_rows(context, look, complete), look)
    return reading


@pytest.fixture
def least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "LEAST", 20)


@pytest.mark.usefixtures("least")
def test_a_look_reads_rows_of_open_and_newly_closed_blocks_only(records: Records) -> None:
    context, rows = log_context(records), day_rows(9)
    for day, first in ((2, 1), (3, 2), (4, 3), (8, 4)):
        reading = reading_at(context, day, rows)
        read = [f"{one:02}" for one in range(first, day + 2)]  # the last two days and the current one
        assert sorted(set(reading.rows.block)) == read and reading.anew == (day == 2)
        settled.keep(reading, context, "r")
    assert context.stretches.last("r") == 4
    settled.keep(reading_at(context, 8, rows), context, "r")
    assert context.stretches.last("r") == 4, "no further rows are settled"


@pytest.mark.usefixtures("least")
def test_only_one_of_two_concurrent_looks_keeps_its_stretch(records: Records) -> None:
    context, rows = log_context(records), day_rows(9)
    settled.keep(reading_at(context, 2, rows), context, "r")
    one, other = reading_at(context, 4, rows), reading_at(context, 5, rows)
    settled.keep(other, context, "r")
    settled.keep(one, context, "r")
    assert context.stretches.last("r") == 2
    assert set(reading_at(context, 6, rows).rows.block) == {"05", "06", "07"}


SETTINGS: dict[str, dict[str, Any]] = {
    "maturity": {"maturity": timedelta(days=2)},
    "loss": {"loss": LOSSES["log_loss"]},
    "needed": {"needed": 4},
    "tolerance": {},
    "slices": {"slices": ("kind",)},
}


@pytest.mark.usefixtures("least")
@pytest.mark.parametrize("why", ["a request", "a label", "an earlier look", *SETTINGS])
def test_all_rows_are_read_where_the_stretches_may_no_longer_hold(records: Records, why: str) -> None:
    context, rows = log_context(records), day_rows(9)
    settled.keep(reading_at(context, 4, rows), context, "r")
    assert not reading_at(context, 5, rows).anew
    unlabelled = replace(prediction(900, replace(rows[3], known=None), plans([])), milliseconds={})
    if why == "a request":
        context.predictions.append([unlabelled])
    if why == "a label":
        known = prediction(901, rows[0], plans([]))
        context.predictions.append([replace(known, predicted_at=hours(110))])
        assert not reading_at(context, 5, rows).anew
        context.predictions.record_outcomes([(known.prediction_id, 1.0, hours(90))])
    changes = SETTINGS.get(why, {})
    if why == "tolerance":
        watch = context.params.rollout.watch.model_copy(update={"slow_tolerance_ms": 7.0})
        judged = context.params.rollout.model_copy(update={"watch": watch})
        context.params = context.params.model_copy(update={"rollout": judged})
    again = reading_at(context, 3 if why == "an earlier look" else 5, rows, **changes)
    assert again.anew
    settled.keep(again, context, "r")
    assert not reading_at(context, 6, rows, **changes).anew and context.stretches.last("r") == 2


@pytest.mark.usefixtures("least")
def test_no_stretch_is_kept_while_a_writer_lags_or_too_few_latencies_are_settled(records: Records) -> None:
    context, rows = log_context(records), day_rows(9)
    for reading in (replace(reading_at(context, 4, rows), outcomes=None), reading_at(context, 4, rows, needed=1000)):
        settled.keep(reading, context, "r")
        assert context.stretches.last("r") == 0
    settled.keep(reading_at(context, 4, rows, needed=1000, slow_ms=0.0), context, "r")
    assert context.stretches.last("r") == 1


@pytest.mark.usefixtures("least")
def test_stretches_deleted_during_a_look_do_no_harm(records: Records) -> None:
    context, rows = log_context(records), day_rows(12)
    for day in (2, 4):
        settled.keep(reading_at(context, day, rows), context, "r")
    under_way = reading_at(context, 6, rows)
    assert not under_way.anew
    with records.engine.begin() as connection:
        connection.execute(sa.delete(STRETCHES).where(STRETCHES.c.usecase == context.usecase))
    settled.keep(under_way, context, "r")
    for day, anew in ((7, True), (8, False), (9, False)):
        reading = reading_at(context, day, rows)
        assert reading.anew == anew
        settled.keep(reading, context, "r")


@pytest.mark.usefixtures("least")
def test_all_rows_are_read_where_a_stretch_in_the_middle_was_deleted(records: Records) -> None:
    context, rows = log_context(records), day_rows(12)
    for day in (2, 4, 6):
        settled.keep(reading_at(context, day, rows), context, "r")
    assert not reading_at(context, 7, rows).anew
    with records.engine.begin() as connection:
        middle = (STRETCHES.c.usecase == context.usecase, STRETCHES.c.stretch == 2)
        connection.execute(sa.delete(STRETCHES).where(*middle))
    assert reading_at(context, 7, rows).anew


@pytest.mark.usefixtures("least")
def test_stretches_of_another_format_are_read_anew_and_replaced_ones_deleted(records: Records) -> None:
    context, rows = log_context(records), day_rows(9)
    settled.keep(reading_at(context, 2, rows), context, "r")
    context.stretches.keep("r", 2, False, msgspec.msgpack.encode({"until": "later"}))
    reading = reading_at(context, 4, rows)
    assert reading.anew
    settled.keep(reading, context, "r")
    assert context.stretches.last("r") == 3 and len(context.stretches.of("r")) == 1
    with records.engine.connect() as connection:
        assert connection.scalars(
            sa.select(STRETCHES.c.stretch).where(STRETCHES.c.usecase == context.usecase)
        ).all() == [3]


def test_a_label_that_matures_at_the_instant_of_a_look_counts(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At instants that are no binary fractions; no row is settled without being counted."""
    monkeypatch.setattr(settled, "LEAST", 1)
    row = Row(1.0, None, 0.0, 1, 1.0, 1.0, ("", ""), "x", False)
    for micros in range(1, 60):
        context, at = log_context(records), hours(1) + timedelta(microseconds=micros)
        predictions = [
            replace(prediction(n, replace(row, entity=n), plans([])), predicted_at=at, closes_at=at) for n in range(4)
        ]
        context.predictions.append(predictions)
        context.predictions.record_outcomes([(one.prediction_id, 1.0, at + timedelta(hours=1)) for one in predictions])
        for now in (at + MATURITY, at + MATURITY + timedelta(hours=1)):
            complete, look_now = Completeness(now, (), now, ()), look_at(now, plans([]))
            reading = settled.read(context, "r", look_now, complete)
            assert decision_bits(reading.seen, look_now) == decision_bits(
                all_rows(context, look_now, complete), look_now
            )
            assert len(reading.seen.differences) == 4
            settled.keep(reading, context, "r")


def test_latencies_are_kept_for_settled_rows_only(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "LEAST", 1)
    context = log_context(records)

    def took(number: int, at: float, milliseconds: float) -> Prediction:
        one = prediction(number, Row(at, None, 0, number, None, 1.0, ("", ""), "x", False), plans([]))
        return replace(one, milliseconds={"1": milliseconds, "2": milliseconds})

    for requests, now in (
        ([took(0, 1.0, 1.0), took(1, 1.5, 1.0), took(2, 70.0, 1.0), took(3, 70.9, 1.0)], hours(71)),
        ([took(4, 70.5, 50.0), took(5, 72.0, 20.0)], hours(73)),
    ):
        context.predictions.append(requests)
        complete, look_now = Completeness(now, (), now, ()), look_at(now, plans([]), needed=4)
        reading = settled.read(context, "r", look_now, complete)
        assert decision_bits(reading.seen, look_now) == decision_bits(all_rows(context, look_now, complete), look_now)
        settled.keep(reading, context, "r")


@pytest.mark.usefixtures("least")
def test_the_newest_label_may_belong_to_a_settled_row(records: Records) -> None:
    context, rows = log_context(records), day_rows(4)
    predictions = [prediction(number, row, plans([])) for number, row in enumerate(rows)]
    context.predictions.append(predictions)
    context.predictions.record_outcomes([(one.prediction_id, 1.0, one.predicted_at) for one in predictions[1:]])
    for day in (8, 9):
        now = hours(24 * day)
        complete, look_now = Completeness(now, (), now, ()), look_at(now, plans([]))
        reading = settled.read(context, "r", look_now, complete)
        assert decision_bits(reading.seen, look_now) == decision_bits(all_rows(context, look_now, complete), look_now)
        settled.keep(reading, context, "r")
        context.predictions.record_outcomes([(predictions[0].prediction_id, 1.0, hours(24 * 8 + 3))])
    assert reading.seen.counts.newest == hours(24 * 8 + 3) and not reading.anew


def kinds() -> dict[str, dict[str, Any]]:
    return {"days": {}} | {name: declared(kind) for name, (kind, _) in KINDS.items()}


@on_both
@pytest.mark.parametrize("ours", [same, inverted], ids=["same", "inverted"])
@pytest.mark.parametrize("kind", kinds())
def test_a_rollout_makes_the_same_decisions_as_one_whose_looks_read_all_rows(
    desk: Context, monkeypatch: pytest.MonkeyPatch, kind: str, ours: Score
) -> None:
    """The id of a decision is a digest of its content, so equal ids mean equal answers and evidence."""
    monkeypatch.setattr(settled, "LEAST", 50)
    changes = {"failing": {"1": 0.05, "2": 0.02}, "request": lambda n, _: {"kind": "abc"[n % 3]}, **kinds()[kind]}
    decided = []

    def looked(context: Context, name: str) -> dict[str, Any]:
        with monkeypatch.context() as patch:
            patch.setattr(Stretches, "of", lambda *_: [])
            patch.setattr(Stretches, "keep", lambda *_: None)
            whole = look(context, name)
        decided.append(look(context, name))
        assert decided[-1] == whole
        return whole

    champion_first(desk)
    monkeypatch.setattr(rollout, "look", looked)
    answer = rollout.ramp(desk, ours, **changes)
    assert answer["action"] == ("PROMOTE" if ours is same else "ROLLBACK")
    assert ours is inverted or desk.stretches.last("a") >= 3


@on_both
def test_a_look_killed_before_it_keeps_a_stretch_loses_nothing(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "LEAST", 50)
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 4)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Stretches, "keep", killed)
        look(desk, "shadow")
    before = desk.decisions.all()
    answer = look(desk, "shadow")
    assert desk.stretches.last("a") == 1 and desk.decisions.all() == before
    assert look(desk, "shadow") == answer and desk.stretches.last("a") == 1
