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
    """

    template_fields = ("rollout",)

    def __init__(self, *, rollout: Any, stage: str, params_file: str, **options: Any) -> None:
        super().__init__(**options)
        self.rollout, self.stage, self.params_file = rollout, stage, params_file

    def execute(self, context: Any) -> dict[str, Any]:
        return self._look(context, out_of_time=False)

    def resume(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] | None = event.get("answer")
        if answer is not None and self._is_current(answer):
            return answer
        return self._look(context, event["out_of_time"])

    def _is_current(self, answer: Mapping[str, Any]) -> bool:
        """Whether nothing has happened since the trigger fired. Where that cannot be told, a look says why."""
        try:
            return bool(_pulse(self.rollout, _context(self.params_file)) == answer["pulse"])
        except Exception as error:
            log.warning("cannot look at rollout %s: %s", self.rollout, _error_line(error, None))
            return False

    def _look(self, context: Any, out_of_time: bool) -> dict[str, Any]:
        from pipelines.errors import FlightdeckError, InvalidInput, MissingData

        try:
            answer = _judge(_context(self.params_file), self.rollout, self.stage, out_of_time)
        except FlightdeckError as error:
            if isinstance(error, InvalidInput) and not isinstance(error, MissingData):
                raise AirflowFailException(str(error)) from None
            raise error from None  # the errors behind it may contain a secret
        print(*_lines(answer, self.stage), sep="\n")
        if answer["action"] == "HOLD":
            began = (context["dag_run"].start_date or datetime.now(UTC)).isoformat()
            trigger = JudgeTrigger(self.params_file, self.rollout, self.stage, answer["pulse"], began)
            self.defer(trigger=trigger, method_name="resume")  # ends the task here, by an exception
        return answer


class JudgeTrigger(BaseTrigger):
    """Looks at a rollout whenever its pulse is no longer the one `seen`, and last when its time is up.

    A task for each look would take many times longer than the look. It fires with the answer that is not HOLD, or
    with None where the task is to look itself, and to fail with the reason.

    Every look has the params of its time: they hold for the looks that follow a change.

    Args:
        began: ISO, wall time; `deadline_hours` of the params later the judge looks one last time.
    """

    def __init__(self, params_file: str, rollout: str, stage: str, seen: str, began: str) -> None:
        super().__init__()
        self.params_file, self.rollout, self.stage, self.seen = params_file, rollout, stage, seen
        self.began = began

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("params_file", "rollout", "stage", "seen", "began")
        return "rollout.JudgeTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        context: Context | None = None
        seen, seen_at = self.seen, time.monotonic()
        while True:
            answer, late, gives_back = None, False, False
            try:
                if context is None:
                    context = await asyncio.to_thread(_context, self.params_file)
                late = self._is_late(context)
                if late or await asyncio.to_thread(_pulse, self.rollout, context) != seen:
                    context = await asyncio.to_thread(_context, self.params_file)
                    late = self._is_late(context)
                    answer, gives_back = await asyncio.to_thread(self._try, context, late)
                seen_at = time.monotonic()
            except Exception as error:  # a database that is down comes back; the rollout must not end because of it
                log.warning("cannot look at rollout %s: %s", self.rollout, _error_line(error, context))
                gives_back = time.monotonic() - seen_at > BLIND
            if answer is not None:
                seen = answer["pulse"]
                for line in _lines(answer, self.stage):
                    log.info("%s", line)
            if gives_back or (answer is not None and answer["action"] != "HOLD"):
                yield TriggerEvent({"answer": answer, "out_of_time": late})
                return
            await asyncio.sleep(context.params.rollout.poll_seconds if context else 1)

    def _is_late(self, context: Context) -> bool:
        hours = timedelta(hours=context.params.rollout.deadline_hours)
        return datetime.now(UTC) >= datetime.fromisoformat(self.began) + hours

    def _try(self, context: Context, late: bool) -> tuple[dict[str, Any] | None, bool]:
        """The answer, or None and whether the task shall look: it does not help to try again.

        Raises:
            Unavailable, MissingData: it may help.
        """
        from pipelines.errors import MissingData, Unavailable

        try:
            return _judge(context, self.rollout, self.stage, late), False
        except (MissingData, Unavailable):
            raise
        except Exception as error:
            log.warning("the judge failed on rollout %s: %s", self.rollout, _error_line(error, context))
            return None, True


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

    return build_context(params_file, checked=False)


def _judge(context: Context, rollout: str, stage: str, out_of_time: bool) -> dict[str, Any]:
    from pipelines.steps import execute

    return execute("judge_rollout", {"rollout": rollout, "stage": stage, "out_of_time": out_of_time}, context)


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
