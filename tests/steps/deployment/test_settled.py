"""A look that reads only rows that are not settled says what one says that reads all of them, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.judge_rules import rules
from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.deployment import settled
from pipelines.deployment.completeness import Completeness
from pipelines.deployment.evidence import evidence
from pipelines.deployment.foretold import Foretold
from pipelines.deployment.judge import _facts
from pipelines.deployment.pairing import Look, paired
from pipelines.deployment.rows import read_rows
from pipelines.deployment.tally import Tally, tally
from pipelines.judge import Scatter, judge_evidence
from pipelines.records import Plan, Prediction, Records, Stretches
from pipelines.traffic import serves_challenger
from tests.conftest import TOY
from tests.postgres_fixtures import on_both
from tests.rollouts import Score, inverted, same
from tests.steps.deployment import rollout
from tests.steps.deployment.rollout import MATURITY, START, champion_first, look, stage, start, traffic
from tests.steps.deployment.test_blocks import KINDS, declared

PARAMS = load_params(TOY)
SHARES = {"shadow": 0.0, "5": 0.05, "25": 0.25, "50": 0.5, "100": 1.0}
NAMES = list(SHARES)
RULES = rules(min_pairs=3, min_positives=2, min_blocks=2)
SCATTER = Scatter(9, 0.05, 0.2)
EACH = count()


@dataclass(frozen=True)
class Row:
    """A request and its outcome, in hours since the start; both are in the log once `logged` has passed, at the latest.

    Attributes:
        closes: from `at` on, until its block closes.
        known: from `at` on; None where it gets no label.
        faults: of the champion and of the challenger.
    """

    at: float
    block: str | None
    closes: float
    entity: int
    known: float | None
    label: float
    faults: tuple[str, str]
    slice: Any
    wrong: bool


ROWS = st.builds(
    Row,
    at=st.integers(0, 160).map(lambda n: n / 2),  # so that there are ties
    block=st.sampled_from([None, "a", "b", "day", "hour"]),
    closes=st.sampled_from([0.0, 1.0, 5.0, 30.0, -2.0]),
    entity=st.integers(0, 12),
    known=st.none() | st.integers(0, 120).map(lambda n: n / 2),
    label=st.sampled_from([0.0, 1.0]),
    faults=st.tuples(*[st.sampled_from([*[""] * 8, "no output", "none", "nan", "slow", "no probability: nan"])] * 2),
    slice=st.sampled_from(["x", "y", 7, 7.0, None]),
    wrong=st.integers(0, 30).map(lambda n: n == 0),
)


def hours(number: float) -> datetime:
    return START + timedelta(hours=number)


def plans(changes: Sequence[float]) -> list[Plan]:
    return [
        Plan(n + 1, "r", name, "1", "u", "s", "2", "u2", "s2", SHARES[name], hours(at))
        for n, (name, at) in enumerate(zip(NAMES, [0.0, *sorted(changes)], strict=False))
    ]


def prediction(number: int, row: Row, all_plans: Sequence[Plan]) -> Prediction:
    at, plan = hours(row.at), [one for one in all_plans if one.since <= hours(row.at)][-1]
    names = {None: f"p{number}", "day": f"{at:%d}", "hour": f"{at:%d %H}"}
    closes = {None: at, "day": hours(24 * (row.at // 24 + 1)), "hour": hours(row.at // 1 + 1)}
    draw = np.random.default_rng(number).random(4).tolist()
    scores: dict[str, float | None] = {}
    errors: dict[str, str] = {}
    for version, fault, score in zip("12", row.faults, draw, strict=False):
        if fault == "none":
            continue
        scores[version] = None if fault.startswith("no ") else float("nan") if fault == "nan" else float(score)
        if fault.startswith("no "):
            errors[version] = fault
    assigned = "2" if serves_challenger("r", f"e{row.entity}", plan.share) else "1"
    return Prediction(
        prediction_id=f"p{number}",
        entity=f"e{row.entity}",
        block=names.get(row.block, str(row.block)),
        closes_at=closes.get(row.block, at + timedelta(hours=row.closes)),
        predicted_at=at,
        request={"kind": row.slice},
        features={},
        ages={},
        plan=plan.version,
        share=plan.share,
        served="12"[assigned == "1"] if row.wrong or assigned in errors else assigned,
        score=0.5,
        scores=scores,
        milliseconds={v: 20.0 * (f == "slow") + draw[2] for v, f in zip("12", row.faults, strict=True)},
        errors=errors,
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    opened = Records(f"sqlite:///{tmp_path_factory.mktemp('records') / 'records.db'}")
    yield opened
    opened.engine.dispose()


def opened(records: Records) -> Any:
    """What of a context a look reads, with a log of its own."""
    name = f"case {next(EACH)}"
    return SimpleNamespace(
        predictions=records.predictions(name), stretches=records.stretches(name), params=PARAMS, usecase=name
    )


def look_at(now: datetime, in_force: Sequence[Plan], **changes: Any) -> Look:
    foretold = Foretold(scatter=SCATTER, horizon=60, slices={"kind=x": SCATTER, "kind=7": None, "kind=z": SCATTER})
    known = [plan for plan in in_force if plan.since < now] or [in_force[0]]
    look = Look(now, START, "1", "2", known, known[-1].stage, NAMES, MATURITY, 0.2, None, 3, foretold=foretold)
    return replace(look, slices=("kind", "other"), **changes)


def told(taken: Tally, look: Look) -> tuple[Any, ...]:
    """All that a decision says, and the evidence as it is, bit by bit."""
    found = evidence(taken, look, PARAMS.rollout.watch)
    return (
        judge_evidence(found, RULES).model_dump_json(),
        json.dumps(_facts(taken.counts, found)),
        bits(found),
        repr(asdict(taken.counts)),
    )


def bits(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    if isinstance(value, tuple):
        return [bits(one) for one in value]
    return {name: bits(one) for name, one in vars(value).items()} if hasattr(value, "__dict__") else repr(value)


def all_rows(context: Any, look: Look, complete: Completeness) -> Tally:
    versions = [plan.version for plan in look.plans]
    rows = read_rows(context.predictions, versions, complete.known_by, slices=look.slices)
    return tally(paired(rows, look), look, PARAMS.rollout.watch, Tally())


@dataclass(frozen=True)
class When:
    """A look so many hours after the one before (or before it), with a writer that has been silent for some of them.

    Attributes:
        behind: whether some requests reach the log behind the looks that should have seen them.
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


def log_until(
    context: Any, now: datetime, made: Sequence[Prediction], rows: Sequence[Row], behind: bool = False
) -> None:
    """Requests and labels from before an instant; every fifth request is left out where some come `behind`."""
    given = [number for number, one in enumerate(made) if one.predicted_at < now and not (behind and number % 5 == 0)]
    context.predictions.append([made[number] for number in given])
    labels = [(made[n].prediction_id, rows[n].label, made[n].predicted_at, rows[n].known) for n in given]
    known = [(name, label, at + timedelta(hours=after)) for name, label, at, after in labels if after is not None]
    context.predictions.record_outcomes([one for one in known if one[2] < now])


@given(st.lists(ROWS, min_size=1, max_size=40), LOOKS, st.lists(st.integers(1, 90), max_size=4))
def test_whatever_comes_when_a_look_says_what_one_says_that_reads_all_rows(
    records: Records, rows: list[Row], looks: list[When], changes: list[int]
) -> None:
    context, ramp, now = opened(records), plans(changes), 20.0
    made = [prediction(number, row, ramp) for number, row in enumerate(rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settled, "LEAST", 1)
        for when in looks:
            now = max(now + when.after, 1.0)
            log_until(context, hours(now), made, rows, when.behind)
            complete = Completeness(hours(now - when.silent), (), hours(now), ())
            look = look_at(complete.until, ramp)
            reading = settled.read(context, "r", look, complete)
            assert told(reading.seen, look) == told(all_rows(context, look, complete), look)
            settled.keep(reading, context, "r")


def day_rows(days: int, a_day: int = 20) -> list[Row]:
    def row(n: int) -> Row:
        faults = ("", "no output" if n % 11 == 0 else "")
        return Row(24 * n / a_day, "day", 0.0, n % 30, 12.0, float(n % 3 == 0), faults, "x", False)

    return [row(n) for n in range(days * a_day)]


def reading_at(context: Any, day: int, rows: Sequence[Row], **changes: Any) -> settled.Reading:
    """A look at the end of a day, which says what one says that reads all rows."""
    made, now = [prediction(number, row, plans([])) for number, row in enumerate(rows)], hours(24 * day + 0.5)
    log_until(context, now, made, rows)
    complete, look = Completeness(now, (), now, ()), look_at(now, plans([]), **changes)
    reading = settled.read(context, "r", look, complete)
    assert told(reading.seen, look) == told(all_rows(context, look, complete), look)
    return reading


@pytest.fixture
def least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "LEAST", 20)


@pytest.mark.usefixtures("least")
def test_a_look_reads_the_rows_of_open_blocks_and_of_those_that_have_closed_since(records: Records) -> None:
    context, rows = opened(records), day_rows(9)
    for day, first in ((2, 1), (3, 2), (4, 3), (8, 4)):
        reading = reading_at(context, day, rows)
        read = [f"{one:02}" for one in range(first, day + 2)]  # the last two days and the one that has just begun
        assert sorted(set(reading.rows.block)) == read and reading.anew == (day == 2)
        settled.keep(reading, context, "r")
    assert context.stretches.count("r") == 4
    settled.keep(reading_at(context, 8, rows), context, "r")
    assert context.stretches.count("r") == 4, "nothing more is settled"


@pytest.mark.usefixtures("least")
def test_of_two_looks_at_once_one_keeps_what_it_has_taken(records: Records) -> None:
    context, rows = opened(records), day_rows(9)
    settled.keep(reading_at(context, 2, rows), context, "r")
    one, other = reading_at(context, 4, rows), reading_at(context, 5, rows)
    settled.keep(other, context, "r")
    settled.keep(one, context, "r")
    assert context.stretches.count("r") == 2
    assert set(reading_at(context, 6, rows).rows.block) == {"05", "06", "07"}


@pytest.mark.usefixtures("least")
@pytest.mark.parametrize("why", ["a request", "a label", "an earlier look", "a setting"])
def test_all_rows_are_read_where_what_was_kept_may_no_longer_hold(records: Records, why: str) -> None:
    context, rows = opened(records), day_rows(9)
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
    changes = {"maturity": timedelta(days=2)} if why == "a setting" else {}
    again = reading_at(context, 3 if why == "an earlier look" else 5, rows, **changes)
    assert again.anew
    settled.keep(again, context, "r")
    assert not reading_at(context, 6, rows, **changes).anew and context.stretches.count("r") == 2


@pytest.mark.usefixtures("least")
def test_nothing_is_kept_while_the_log_waits_for_a_writer_or_the_pace_is_not_known(records: Records) -> None:
    context, rows = opened(records), day_rows(9)
    for reading in (replace(reading_at(context, 4, rows), outcomes=None), reading_at(context, 4, rows, needed=1000)):
        settled.keep(reading, context, "r")
        assert context.stretches.count("r") == 0
    settled.keep(reading_at(context, 4, rows, needed=1000, slow_ms=0.0), context, "r")
    assert context.stretches.count("r") == 1


def kinds() -> dict[str, dict[str, Any]]:
    return {"days": {}} | {name: declared(kind) for name, (kind, _) in KINDS.items()}


@on_both
@pytest.mark.parametrize("ours", [same, inverted], ids=["same", "inverted"])
@pytest.mark.parametrize("kind", kinds())
def test_a_rollout_takes_the_same_decisions_as_one_whose_looks_read_all_rows(
    desk: Context, monkeypatch: pytest.MonkeyPatch, kind: str, ours: Score
) -> None:
    """Decisions are named by what they say, so that the same answer has the same evidence."""
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
    assert ours is inverted or desk.stretches.count("a") >= 3


def test_a_look_that_is_killed_before_it_keeps_anything_loses_nothing(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert desk.stretches.count("a") == 1 and desk.decisions.all() == before
    assert look(desk, "shadow") == answer and desk.stretches.count("a") == 1
