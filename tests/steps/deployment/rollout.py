"""The steps of a rollout, over real models with simulated traffic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.records import Plan
from pipelines.settings import Settings
from pipelines.steps import execute
from tests.conftest import TOY
from tests.rollouts import Score, same, set_alias
from tests.rollouts import traffic as simulated
from tests.synthetic import INPUTS, small_params

START = datetime(2024, 4, 1, tzinfo=UTC)
STAGES = ("shadow", "25", "100")
MATURITY = timedelta(days=1)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at

    def advance(self, **by: float) -> None:
        self.at += timedelta(**by)


def open_context(home: Path, **places: Any) -> Context:
    params = small_params().model_copy(update={"rollout": load_params(TOY).rollout})
    usecase: Any = SimpleNamespace(
        name="pumps", slices=("kind",), timezone="UTC", model_inputs=INPUTS, maturity=MATURITY
    )
    context = Context(Settings(home=home, **places), params, usecase)
    return context.replaced(clock=Clock(START))


def clock(context: Context) -> Clock:
    assert isinstance(context.clock, Clock)
    return context.clock


def start(context: Context, version: str = "2", run: str = "a", **changes: Any) -> dict[str, Any]:
    return execute("start_rollout", {"version": version, "actor": "test", "run": run, **changes}, context)


def finish(context: Context, action: str, run: str = "a", **changes: Any) -> dict[str, Any]:
    return execute("finish_rollout", {"rollout": run, "action": action, "reason": "because", **changes}, context)


def stage(context: Context, name: str, run: str = "a") -> dict[str, Any]:
    return execute("set_stage", {"rollout": run, "stage": name}, context)


def look(context: Context, name: str, run: str = "a", **changes: Any) -> dict[str, Any]:
    return execute("judge_rollout", {"rollout": run, "stage": name, **changes}, context)


def champion_first(context: Context) -> None:
    """Version 1 as the first champion."""
    change = set_alias(context, "challenger", "1")
    set_alias(context, "champion", "1")
    assert start(context, "1", "first", change=change)["direct"]
    assert finish(context, "promote", "first")["champion"] == "1"


def in_force(context: Context) -> Plan:
    plan = context.plans.current()
    assert plan is not None
    return plan


def traffic(context: Context, days: int, *given: Any, **changes: Any) -> None:
    simulated(context, lambda to: setattr(clock(context), "at", to), days, *given, **changes)


def ramp(context: Context, ours: Score = same, days: int = 40, **changes: Any) -> dict[str, Any]:
    """A whole rollout of version 2, judged after every day; gives the answer that ended it."""
    change = set_alias(context, "challenger", "2")
    assert start(context, change=change)["proceed"]
    for name in STAGES:
        assert stage(context, name)["in_force"]
        answer = look(context, name)
        while answer["action"] == "HOLD" and days:
            traffic(context, 1, ours, **changes)
            days -= 1
            answer = look(context, name)
        if answer["action"] != "ADVANCE":
            return answer
    raise AssertionError("the last stage cannot advance")


def end(context: Context, answer: dict[str, Any]) -> dict[str, Any]:
    ending = {"PROMOTE": "promote", "ROLLBACK": "rollback", "INCONCLUSIVE": "inconclusive", "ABORT": "abort"}
    return finish(context, ending[answer["action"]], decision_id=answer["decision_id"], reason=answer["reason"])


def console(context: Context, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    from pipelines import console as asked
    from pipelines.__main__ import parser

    asked.answer(vars(parser().parse_args(words)), context)
    return capsys.readouterr().out
