"""The cost of a judge's look at day 2 and day 60 of a rollout, with and without stretches kept by earlier looks.

    python -m benchmarks.judge_looks [--rows 200000] [--entities 5000]

Random requests of sixty days, whose labels mature after a day: their blocks are days, or single requests. The
judge looks at the end of every day; each measured look runs in a process of its own, which has imported all
that it needs. Writes benchmarks/results/judge_looks.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import sqlalchemy as sa

from benchmarks.children import child, measure
from benchmarks.ground import ROOT, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.records import Baseline, Plan, Prediction, Rollout
from pipelines.settings import Settings
from pipelines.steps import execute

BEGAN = datetime(2024, 4, 1, tzinfo=UTC)
EARLY, LAST = 2, 60  # days
KINDS = {"days": "a day", "rows": "each request"}
SCATTER = (30, 0.002, 0.006)  # of the toy pair, from day to day
GIGABYTE_IN_MB = 1000


class Clock:
    at = BEGAN

    def now(self) -> datetime:
        return self.at


def opened(home: Path, kind: str, name: str) -> Context:
    params = load_params(ROOT / "params.yaml")
    if kind == "rows":
        judge = params.rollout.judge.model_copy(update={"min_blocks": 0})
        params = params.model_copy(update={"rollout": params.rollout.model_copy(update={"judge": judge})})
    usecase: Any = SimpleNamespace(name=name, slices=("kind",), timezone="UTC", maturity=timedelta(days=1))
    models = SimpleNamespace(aliases=dict)
    return Context(Settings(home=home), params, usecase).replaced(clock=Clock(), models=models)


def begin(context: Context) -> None:
    """A rollout in shadow."""
    foretold = {"scatter": SCATTER, "horizon": 60.0, "slices": {"kind=a": SCATTER, "kind=b": SCATTER}}
    frozen = Baseline("u2", "s2", "e2", "u1", "s1", 0.17, "evaluation", 5.0, foretold)
    change = context.aliases.note("challenger", "2", "benchmark", BEGAN)
    assert change is not None and context.rollouts.begin(Rollout("r", "2", "1", change, BEGAN, frozen), "benchmark")
    assert context.plans.replace(Plan(1, "r", "shadow", "1", "u1", "s1", "2", "u2", "s2", 0.0, BEGAN))


def fill(context: Context, kind: str, rows: int, entities: int) -> None:
    """Log requests at even distances over the sixty days, with their outcomes."""
    draw = np.random.default_rng(7)
    risk, wide = draw.beta(1, 2, rows), draw.normal(0, 0.02, (2, rows))
    labels, scores = (draw.random(rows) < risk).astype(float), np.clip(risk + wide, 0, 1)
    who = draw.integers(entities, size=rows)
    for part in (range(begin, min(begin + 10_000, rows)) for begin in range(0, rows, 10_000)):
        logged, outcomes = [], []
        for n in part:
            at = BEGAN + timedelta(days=LAST) * ((n + 0.5) / rows)
            day = at.replace(hour=0, minute=0, second=0, microsecond=0)
            own, ours = (f"p{n:07}", at), (day.date().isoformat(), day + timedelta(days=1))
            block, closes = ours if kind == "days" else own
            pair = {version: float(scores[which, n]) for which, version in enumerate("12")}
            logged.append(
                Prediction(
                    prediction_id=own[0],
                    entity=f"entity {who[n]}",
                    block=block,
                    closes_at=closes,
                    predicted_at=at,
                    request={"kind": "ab"[n % 2], **{f"field {k}": n / (k + 1) for k in range(8)}},
                    features={f"feature {k}": n / (k + 1) for k in range(20)},
                    ages={},
                    plan=1,
                    share=0.0,
                    served="1",
                    score=pair["1"],
                    scores=pair,
                    milliseconds=dict.fromkeys(pair, 1.0) if n % 5 == 0 else {},
                    errors={},
                )
            )
            outcomes.append((own[0], float(labels[n]), at + timedelta(hours=20)))
        context.predictions.append(logged)
        context.predictions.record_outcomes(outcomes)


def look(context: Context, day: float) -> dict[str, Any]:
    context.clock.at = BEGAN + timedelta(days=day, minutes=1)  # type: ignore[attr-defined]
    return execute("judge_rollout", {"rollout": "r", "stage": "shadow"}, context)


def forget(context: Context) -> None:
    """Delete all stretches, as before the first look of a version that keeps them."""
    if sa.inspect(context.records.engine).has_table("judged_stretches"):
        with context.records.engine.begin() as connection:
            connection.execute(sa.text("delete from judged_stretches"))


def work(home: Path, kind: str, first: str, last: str) -> None:
    """In the child: look from one day to another, or once; prints the cost of the last look."""
    warm = opened(home, kind, "warm")
    look(warm, 1)
    context = opened(home, kind, "measured")
    for day in range(int(first), int(last)):
        look(context, day)
    seen = measure(lambda: look(context, int(last)), repetitions=1, warm_up=0)
    size = 0
    if sa.inspect(context.records.engine).has_table("judged_stretches"):
        with context.records.engine.connect() as connection:
            size = connection.scalar(sa.text("select coalesce(sum(length(content)), 0) from judged_stretches"))
    answer = {name: seen["result"][name] for name in ("action", "rule", "blocks", "rows", "decision_id")}
    print(json.dumps({**seen, "result": answer, "kept": size}))


def measured(home: Path, kind: str, rows: int, entities: int) -> list[tuple[str, dict[str, Any]]]:
    contexts = {name: opened(home, kind, name) for name in ("warm", "measured")}
    for context in contexts.values():
        begin(context)
    fill(contexts["measured"], kind, rows, entities)

    def spent(first: int, last: int, fresh: bool) -> dict[str, Any]:
        if fresh:
            forget(contexts["measured"])
        answer = child("benchmarks.judge_looks", str(home), kind, str(first), str(last))
        assert answer is not None
        return answer

    early = spent(EARLY, EARLY, True)
    spent(1, 1, True)
    steps = [("all", early), ("kept", spent(EARLY, EARLY, False))]
    spent(EARLY + 1, LAST - 1, False)
    late = spent(LAST, LAST, False)
    return [*steps, ("kept", late), ("all", spent(LAST, LAST, True))]


def line(kind: str, day: int, what: str, seen: dict[str, Any]) -> str:
    memory = GIGABYTE_IN_MB * (seen["peak"] - seen["before"])
    read = "all rows" if what == "all" else "rows that are not settled"
    return (
        f"| {KINDS[kind]} | {day} | {read} | {seen['seconds']:.2f} | {memory:.0f} | {seen['result']['blocks']:,} of "
        f"{seen['result']['rows']:,} |"
    )


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        home, *rest = sys.argv[2:]
        work(Path(home), *rest)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--entities", type=int, default=5_000)
    given = parser.parse_args()
    lines, kept = [], []
    for kind, unit in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            steps = measured(Path(folder), kind, given.rows, given.entities)
        days = (EARLY, EARLY, LAST, LAST)
        lines += [line(kind, day, what, seen) for day, (what, seen) in zip(days, steps, strict=True)]
        decisions = {seen["result"]["decision_id"] for _, seen in steps}
        kept.append(f"{steps[2][1]['kept'] / 1e6:.1f} MB where a block is {unit}")
        assert len(decisions) == 2, "the same decision, whatever was read"
    text = f"""# A look of the judge

{given.rows:,} requests of {given.entities:,} entities in {LAST} days, labels mature after a day; a look at the end of
every day. The decisions with and without what was kept are the same. By day {LAST} it takes {" and ".join(kept)}.

| a block is | day | reads | seconds | MB more at the peak | blocks and pairs |
|---|---|---|---|---|---|
{chr(10).join(lines)}

`python -m benchmarks.judge_looks --rows {given.rows} --entities {given.entities}`, on {machine("pandas", "numpy")}.
"""
    save(RESULTS / "judge_looks.md", text, Ground("benchmarks.judge_looks"))


if __name__ == "__main__":
    main()
