"""The triggers of the deployment DAG, which look at a rollout and watch aliases.

They import no module of the steps until they run, and then in a thread: they poll SQL and MLflow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from pipelines.context import Context

log = logging.getLogger(__name__)
BLIND = 600.0  # seconds without a look after which the judge's task is woken, to fail with the reason


class JudgeOperator(BaseOperator):
    """Runs the step `judge_rollout`, and defers to a trigger that goes on looking until the answer is not HOLD.

    Args:
        rollout: name of the rollout (a template field).
        deadline_hours: of wall time since the DAG run began; then the judge looks one last time.
    """

    template_fields = ("rollout",)

    def __init__(
        self, *, rollout: Any, stage: str, params_file: str, poll_seconds: float, deadline_hours: float, **options: Any
    ) -> None:
        super().__init__(**options)
        self.rollout, self.stage, self.params_file = rollout, stage, params_file
        self.poll_seconds, self.deadline_hours = poll_seconds, deadline_hours

    def execute(self, context: Any) -> dict[str, Any]:
        return self._look(context, out_of_time=False)

    def resume(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] | None = event["answer"]
        return answer or self._look(context, event["out_of_time"])

    def _look(self, context: Any, out_of_time: bool) -> dict[str, Any]:
        from pipelines.errors import FlightdeckError

        try:
            answer = _judge(_context(self.params_file), self.rollout, self.stage, out_of_time)
        except FlightdeckError as error:
            if _is_final(error):
                raise AirflowFailException(str(error)) from None
            raise error from None  # the errors behind it may contain a secret
        print(*_lines(answer, self.stage), sep="\n")
        if answer["action"] == "HOLD":
            began = context["dag_run"].start_date or datetime.now(UTC)
            deadline = (began + timedelta(hours=self.deadline_hours)).isoformat()
            rest = (answer["pulse"], self.poll_seconds, deadline)
            trigger = JudgeTrigger(self.params_file, self.rollout, self.stage, *rest)
            self.defer(trigger=trigger, method_name="resume")  # ends the task here, by an exception
        return answer


class JudgeTrigger(BaseTrigger):
    """Looks at a rollout whenever its pulse is no longer the one `seen`, and last at the deadline (ISO, wall time).

    A task for each look would take many times longer than the look. It fires with the answer that is not HOLD, or
    with None where the task is to look itself, and to fail with the reason.
    """

    def __init__(
        self, params_file: str, rollout: str, stage: str, seen: str, poll_seconds: float, deadline: str
    ) -> None:
        super().__init__()
        self.params_file, self.rollout, self.stage = params_file, rollout, stage
        self.seen, self.poll_seconds, self.deadline = seen, poll_seconds, deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("params_file", "rollout", "stage", "seen", "poll_seconds", "deadline")
        return "rollout.JudgeTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        context: Context | None = None
        seen, seen_at = self.seen, time.monotonic()
        while True:
            late = datetime.now(UTC) >= datetime.fromisoformat(self.deadline)
            answer, is_blind = None, False
            try:
                if context is None:
                    context = await asyncio.to_thread(_context, self.params_file)
                if late or await asyncio.to_thread(_pulse, self.rollout, context) != seen:
                    answer = await asyncio.to_thread(_judge, context, self.rollout, self.stage, late)
                seen_at = time.monotonic()
            except Exception as error:  # a database that is down comes back; the rollout must not end because of it
                log.warning("cannot look at rollout %s: %s", self.rollout, _error_line(error, context))
                is_blind = _is_final(error) or late or time.monotonic() - seen_at > BLIND
            if answer is not None:
                seen = answer["pulse"]
                for line in _lines(answer, self.stage):
                    log.info("%s", line)
            if is_blind or (answer is not None and answer["action"] != "HOLD"):
                yield TriggerEvent({"answer": answer, "out_of_time": late})
                return
            await asyncio.sleep(self.poll_seconds)


class AliasTrigger(BaseEventTrigger):
    """Fires when a person sets an alias in MLflow: once for each change, whoever records it, whenever it was made."""

    def __init__(self, params_file: str, alias: str, poll_seconds: float) -> None:
        super().__init__()
        self.params_file, self.alias, self.poll_seconds = params_file, alias, poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("params_file", "alias", "poll_seconds")
        return "rollout.AliasTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        context: Context | None = None
        started, seen, since = False, None, 0.0
        while True:
            news = None
            try:
                if context is None:
                    context = await asyncio.to_thread(_context, self.params_file)
                change = await asyncio.to_thread(_unrecorded_change, self.alias, context)
                if change != seen:
                    seen, since = change, time.monotonic()
                if seen is None:  # on record, but perhaps not reported, or reported to a triggerer that died
                    news = await asyncio.to_thread(_pending_news, self.alias, context, not started)
                elif time.monotonic() - since >= _grace():
                    news = await asyncio.to_thread(_news, self.alias, context)
                started = started or seen is None or news is not None
            except Exception as error:  # MLflow may be away for a while
                log.warning("cannot look at alias %s: %s", self.alias, _error_line(error, context))
            if news is not None:
                yield TriggerEvent(news)
            await asyncio.sleep(self.poll_seconds)


def _error_line(error: Exception, context: Context | None) -> str:
    from pipelines.failure import one_line, translate

    return one_line(translate(error, context.settings.mlflow if context else ""))


def _context(params_file: str) -> Context:
    from pipelines.context import build_context

    return build_context(params_file)


def _judge(context: Context, rollout: str, stage: str, out_of_time: bool) -> dict[str, Any]:
    from pipelines.steps import execute

    return execute("judge_rollout", {"rollout": rollout, "stage": stage, "out_of_time": out_of_time}, context)


def _is_final(error: Exception) -> bool:
    """Whether the step would fail again."""
    from pipelines.errors import InvalidInput, MissingData

    return isinstance(error, InvalidInput) and not isinstance(error, MissingData)


def _lines(answer: Mapping[str, Any], stage: str) -> list[str]:
    """What a look says, for the log of the task."""
    bound = f", observed {answer['observed']}, bound {answer['bound']}" if answer["bound"] is not None else ""
    return [
        f"{answer['action']} at stage {stage}: {answer['rule']}{bound}",
        f"{answer['blocks']} blocks, {answer['rows']} rows",
        *(f"  {reason}" for reason in answer["reason"].split("; ")),
        f"Next: {answer['next_step']}",
    ]


def _pulse(rollout: str, context: Context) -> str:
    from pipelines.deployment.pulse import pulse

    return pulse(rollout, context)


def _grace() -> float:
    from pipelines.deployment.aliases import GRACE

    return GRACE


def _news(alias: str, context: Context) -> dict[str, Any] | None:
    from pipelines.deployment.aliases import alias_news

    return alias_news(alias, context)


def _unrecorded_change(alias: str, context: Context) -> str | None:
    from pipelines.deployment.aliases import unrecorded_change

    return unrecorded_change(alias, context)


def _pending_news(alias: str, context: Context, again: bool) -> dict[str, Any] | None:
    from pipelines.deployment.aliases import pending_news

    return pending_news(alias, context, again)
