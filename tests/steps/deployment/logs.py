"""Random logs of a rollout, and the result of looks at them: the whole decision, and the evidence bit by bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from benchmarks.judge_rules import rules
from pipelines.configuration import load_params
from pipelines.deployment.completeness import Completeness
from pipelines.deployment.evidence import evidence
from pipelines.deployment.foretold import Foretold
from pipelines.deployment.judge import _facts
from pipelines.deployment.pairing import Look, paired
from pipelines.deployment.rows import read_rows
from pipelines.deployment.tally import RolloutTally, tally
from pipelines.judge import Scatter, judge_evidence
from pipelines.records import Plan, Prediction, Records
from pipelines.traffic import serves_challenger
from tests.conftest import TOY
from tests.steps.deployment.rollout import MATURITY, START

PARAMS = load_params(TOY)
SHARES = {"shadow": 0.0, "5": 0.05, "25": 0.25, "50": 0.5, "100": 1.0}
NAMES = list(SHARES)
RULES = rules(min_pairs=3, min_positives=2, min_blocks=2)
SCATTER = Scatter(9, 0.05, 0.2)
EACH = count()


@dataclass(frozen=True)
class Row:
    """A request and its outcome, in hours since the start.

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


def log_context(records: Records) -> Any:
    """The parts of a context that a look reads, with an empty log."""
    name = f"case {next(EACH)}"
    return SimpleNamespace(
        predictions=records.predictions(name), stretches=records.stretches(name), params=PARAMS, usecase=name
    )


def look_at(now: datetime, in_force: Sequence[Plan], **changes: Any) -> Look:
    foretold = Foretold(scatter=SCATTER, horizon=60, slices={"kind=x": SCATTER, "kind=7": None, "kind=z": SCATTER})
    known = [plan for plan in in_force if plan.since < now] or [in_force[0]]
    look = Look(now, START, "1", "2", known, known[-1].stage, NAMES, MATURITY, 0.2, None, 3, foretold=foretold)
    return replace(look, **{"slices": ("kind", "other"), **changes})


def decision_bits(total: RolloutTally, look: Look) -> tuple[Any, ...]:
    """The whole decision, and the evidence bit by bit."""
    observed = evidence(total, look, PARAMS.rollout.watch)
    return (
        judge_evidence(observed, RULES).model_dump_json(),
        json.dumps(_facts(total.counts, observed)),
        bits(observed),
        repr(asdict(total.counts)),
    )


def bits(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    if isinstance(value, tuple):
        return [bits(one) for one in value]
    return {name: bits(one) for name, one in vars(value).items()} if hasattr(value, "__dict__") else repr(value)


def all_rows(context: Any, look: Look, complete: Completeness) -> RolloutTally:
    versions = [plan.version for plan in look.plans]
    rows = read_rows(context.predictions, versions, complete.known_by, slices=look.slices)
    return tally(paired(rows, look), look, PARAMS.rollout.watch, RolloutTally())


def log_until(
    context: Any, now: datetime, made: Sequence[Prediction], rows: Sequence[Row], behind: bool = False
) -> None:
    """Log requests and labels from before an instant; with `behind` every fifth request is left for later."""
    given = [number for number, one in enumerate(made) if one.predicted_at < now and not (behind and number % 5 == 0)]
    context.predictions.append([made[number] for number in given])
    labels = [(made[n].prediction_id, rows[n].label, made[n].predicted_at, rows[n].known) for n in given]
    known = [(name, label, at + timedelta(hours=after)) for name, label, at, after in labels if after is not None]
    context.predictions.record_outcomes([one for one in known if one[2] < now])
