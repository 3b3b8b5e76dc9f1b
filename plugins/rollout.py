"""The triggers of the deployment DAG, which wait for the judge and watch aliases.

They import no module of the steps until they run, and then in a thread: they poll SQL and MLflow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
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
    """Runs the step `judge_rollout`, and defers until its answer is something other than HOLD.

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
        return self._look(context, event["out_of_time"])

    def _look(self, context: Any, out_of_time: bool) -> dict[str, Any]:
        from pipelines.context import build_context
        from pipelines.errors import FlightdeckError, InvalidInput, MissingData
        from pipelines.steps import execute

        inputs = {"rollout": self.rollout, "stage": self.stage, "out_of_time": out_of_time}
        try:
            answer = execute("judge_rollout", inputs, build_context(self.params_file))
        except FlightdeckError as error:
            if isinstance(error, InvalidInput) and not isinstance(error, MissingData):
                raise AirflowFailException(str(error)) from None
            raise error from None  # the errors behind it may contain a secret
        print(f"{answer['action']} at stage {self.stage}: {answer['rule']}", end="")
        print(f", observed {answer['observed']}, bound {answer['bound']}" if answer["bound"] is not None else "")
        print(f"{answer['blocks']} blocks, {answer['rows']} rows")
        for reason in answer["reason"].split("; "):
            print(f"  {reason}")
        print(f"Next: {answer['next_step']}")
        if answer["action"] == "HOLD":
            began = context["dag_run"].start_date or datetime.now(UTC)
            deadline = (began + timedelta(hours=self.deadline_hours)).isoformat()
            trigger = PulseTrigger(self.params_file, self.rollout, answer["pulse"], self.poll_seconds, deadline)
            self.defer(trigger=trigger, method_name="resume")  # ends the task here, by an exception
        return answer


class PulseTrigger(BaseTrigger):
    """Fires when the pulse of a rollout is no longer `seen`, or the deadline (ISO, wall time) has passed."""

    def __init__(self, params_file: str, rollout: str, seen: str, poll_seconds: float, deadline: str) -> None:
        super().__init__()
        self.params_file, self.rollout, self.seen = params_file, rollout, seen
        self.poll_seconds, self.deadline = poll_seconds, deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("params_file", "rollout", "seen", "poll_seconds", "deadline")
        return "rollout.PulseTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        context: Context | None = None
        seen_at = time.monotonic()
        while True:
            late = datetime.now(UTC) >= datetime.fromisoformat(self.deadline)
            try:
                if context is None:
                    context = await asyncio.to_thread(_context, self.params_file)
                has_changed = await asyncio.to_thread(_pulse, self.rollout, context) != self.seen
                seen_at = time.monotonic()
            except Exception as error:  # a database that is down comes back; the rollout must not end because of it
                log.warning("cannot look at rollout %s: %s", self.rollout, _error_line(error, context))
                has_changed = time.monotonic() - seen_at > BLIND
            if has_changed or late:
                yield TriggerEvent({"out_of_time": late})
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
