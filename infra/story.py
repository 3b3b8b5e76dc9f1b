"""The demo: the whole chain on real data, through the real scheduler and a real model server, shown in the terminal.

It starts DAGs in Airflow and replays real traffic against the model server. Every figure of the last table is read
back from MLflow or from the records, by id. A second run continues from the results of the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from infra.airflow_client import FINISHED, AirflowClient, AirflowError, Run, States
from infra.deck import Deck, environment, load_deck
from infra.summary import summary
from pipelines import failure
from pipelines.clock import require_driven
from pipelines.context import Context, build_context
from pipelines.deployment.pulse import goes_on
from pipelines.errors import InvalidInput
from pipelines.params.training import FAMILIES

MARKS = {"success": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[dim]-[/]", "running": "[yellow]▸[/]"}
TICK = timedelta(minutes=15)  # of simulated time
SPARE = timedelta(days=3)  # of traffic after a rollout's last day, so that the judge reaches its time limit
BEGIN_TIMEOUT = 300  # seconds until a rollout must have begun


class Story:
    def __init__(self, deck: Deck, client: AirflowClient, context: Context, console: Console) -> None:
        self.deck, self.client, self.context, self.console = deck, client, context, console
        self.name = context.usecase.name

    def tell(self) -> dict[str, Run]:
        """Run the demo over the days of `desk` in params.yaml, and give the runs that were needed.

        Raises:
            AirflowError: if one of them fails, after showing the end of its log.
        """
        desk, runs = self.context.params.require_desk(), {}
        self.client.wait_for_dags([self.dag(part) for part in ("data", "training", "deployment", "monitoring")])
        clock = require_driven(self.context.clock)
        if not clock.started:
            clock.start(self.context.window(desk.as_of, desk.monitor_end).start_at)
        lag = timedelta(self.context.params.monitoring.lag_days)
        end = min(desk.monitor_end + lag, self.context.usecase.end)  # by then the labels are known
        first = {"start": str(desk.start), "end": str(desk.as_of)}
        second = {"start": str(desk.as_of), "end": str(end)}
        runs["data"] = self.run("data", first, f"Data, {desk.start} to {desk.as_of}")
        oldest = next(iter(self.context.usecase.model_inputs))
        simple = {"as_of": str(desk.as_of), "families": [FAMILIES[0]], "feature_service": oldest}
        runs["training"] = self.run(
            "training", simple, f"Training of the simplest family on {oldest}, as of {desk.as_of}"
        )
        if not self.output(runs["training"], "register")["registered"]:
            return runs
        runs["deployment"] = self.follow(self.deployment(runs["training"]), "Deployment of the first model")
        self.replay(desk.as_of, end, "Live")
        runs["watched"] = self.run("data", second, f"Data, {desk.as_of} to {end}")
        watch = {"start": str(desk.as_of), "end": str(desk.monitor_end), "as_of": str(end)}
        runs["monitoring"] = self.run("monitoring", watch, f"Monitoring, {desk.as_of} to {desk.monitor_end}")
        if self.output(runs["monitoring"], "decide_retraining")["verdict"] != "RETRAIN":
            return runs
        training_run = self.client.triggered_by(runs["monitoring"], self.dag("training"))
        runs["retraining"] = self.follow(
            training_run, f"Training of {' and '.join(self.families)}, requested by monitoring"
        )
        if self.output(runs["retraining"], "register")["registered"]:
            runs["rollout"] = self.roll_out(self.deployment(runs["retraining"]), end)
        return runs

    @property
    def families(self) -> tuple[str, ...]:
        return self.context.params.training.families

    def dag(self, part: str) -> str:
        return f"{self.name}_{part}"

    def deployment(self, training: Run) -> Run:
        """The deployment run that has begun the rollout of this training run's version, however it was started."""
        version, deadline = self.output(training, "register")["version"], time.monotonic() + BEGIN_TIMEOUT
        while time.monotonic() < deadline:
            for run in self.client.runs(self.dag("deployment")):
                with suppress(AirflowError):  # its plan may still be to come, or be skipped
                    plan = self.output(run, "plan")
                    if plan["version"] == version and self.context.rollouts.get(plan["run"]):
                        return self.client.run(run.dag_id, run.run_id)
            time.sleep(1)
        raise AirflowError(
            f"no run of {self.dag('deployment')} has begun a rollout of version {version} in {BEGIN_TIMEOUT} s"
        )

    def run(self, part: str, conf: Mapping[str, Any], title: str) -> Run:
        """The run with this configuration and these params: an existing one, else a new one."""
        identity = json.dumps([conf, self.context.params.model_dump(mode="json")], sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        run_id = self.client.trigger(self.dag(part), conf, run_id=f"demo_{'_'.join(_words(conf))}_{digest}")
        return self.follow(self.client.run(self.dag(part), run_id), title)

    def follow(self, run: Run, title: str) -> Run:
        """Show a run's tasks until it has ended. A run that failed earlier continues from its failed tasks."""
        if run.state == "failed":
            self.client.retry(run)
        with LiveLine(self.console) as show:
            final = self.client.wait(
                run.dag_id, run.run_id, lambda tasks: show(title, marks(tasks, self.console.width))
            )
            show(title, marks(final.tasks, self.console.width), final.seconds)
        if final.ok:
            return final
        for task, tail in self.client.failures(final).items():
            self.console.print(f"[red]{final.dag_id}.{task} failed:[/]\n{tail}", highlight=False)
        raise AirflowError(
            f"{final.dag_id} {final.run_id}: {final.state}; look at {self.deck.airflow_url}, then run the demo again"
        )

    def replay(self, start: date, end: date, title: str, until: Callable[[], bool] = lambda: False) -> None:
        """Replay the traffic of these days against the model server from the time of the clock, and show it by day."""
        from pipelines.replay.driver import Replay, ReplayCounts
        from pipelines.replay.world import read_world

        window, clock = self.context.window(start, end), require_driven(self.context.clock)
        if clock.now() >= window.end_at:
            return
        with LiveLine(self.console) as show:

            def tell(at: datetime, counts: ReplayCounts) -> None:
                traffic = f"{counts.requests:,} requests, {counts.outcomes:,} outcomes"
                show(f"{title}, {at:%Y-%m-%d}", f"  {traffic}{self._rollout_now()}")

            show(f"{title}, {clock.now():%Y-%m-%d}", "  reading the days to replay")
            world = read_world(self.context, window)
            counts = Replay(world, clock, self.context.feast, self.deck.serving_url).run(TICK, until, tell)
            tell(clock.now(), counts)

    def roll_out(self, run: Run, start: date) -> Run:
        """Replay the days from `start` on until the rollout has ended: promoted, rolled back, or out of time."""
        days = timedelta(days=self.context.params.rollout.judge.max_days) + SPARE
        name = None
        while run.state not in FINISHED and name is None:  # until it has begun, or found that there is nothing to do
            plan = self.context.plans.current()
            name = plan.rollout if plan and plan.challenger else None
            time.sleep(1)
            run = self.client.run(run.dag_id, run.run_id)

        if name is not None:
            last = min(start + days, self.context.usecase.end)
            self.replay(start, last, "Rollout", lambda: not goes_on(self.context))
            if goes_on(self.context):
                raise InvalidInput(
                    f"rollout {name} is under way and all days are replayed; replay more days, or end it with "
                    "`flightdeck rollout abort`"
                )
        return self.follow(run, "Deployment of the challenger")

    def output(self, run: Run, task_id: str) -> dict[str, Any]:
        return dict(self.client.xcom(run.dag_id, run.run_id, task_id))

    def _rollout_now(self) -> str:
        """The stage in force and the judge's last decision."""
        plan = self.context.plans.current()
        if plan is None or plan.challenger is None:
            return ""
        stage = "shadow" if not plan.share else f"{plan.share:.0%} to version {plan.challenger}"
        newest = self.context.decisions.newest_on(plan.rollout)
        reasons = [one["reasons"][0] for one in newest if one["evidence"]["plan"] == plan.version]
        return f", {stage}" + "".join(f"\n  judge: {reason}" for reason in reasons[:1])


class LiveLine:
    """A line that is updated on a terminal; elsewhere only its last state is printed."""

    def __init__(self, console: Console) -> None:
        self.console, self.started, self.last = console, time.monotonic(), Text()

    def __enter__(self) -> Callable[..., None]:
        self.live = Live(console=self.console, refresh_per_second=2, transient=not self.console.is_terminal).__enter__()
        return self._show

    def _show(self, title: str, body: str, seconds: float | None = None) -> None:
        seconds = time.monotonic() - self.started if seconds is None else seconds
        self.last = Text.from_markup(f"[bold]{title}[/] [dim]{seconds:.0f} s[/]\n{body}")
        self.live.update(self.last)

    def __exit__(self, *raised: Any) -> None:
        self.live.__exit__(*raised)
        if not self.console.is_terminal:
            self.console.print(self.last)


def marks(tasks: States, width: int) -> str:
    """The tasks with their marks, as many on a line as fit the width, without breaking one."""
    lines, length = [], width
    for task, state in _in_order(tasks):
        text, size = f"{MARKS.get(state, '[dim]·[/]')} {task}", len(task) + 4  # mark, space, two spaces before
        if length + size > width:
            lines.append("")
            length = 0
        lines[-1] += f"  {text}"
        length += size
    return "\n".join(lines)


def _in_order(tasks: States) -> Iterable[tuple[str, str]]:
    rank = {"success": 0, "skipped": 0, "failed": 1, "running": 2}
    return sorted(tasks.items(), key=lambda task: rank.get(task[1], 3))


def _words(conf: Mapping[str, Any]) -> Iterable[str]:
    return (str(value) for key, value in conf.items() if key in ("start", "end", "as_of"))


def main() -> int:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)  # a file can be wide
    started = time.monotonic()
    try:
        deck = load_deck()
        for name, value in environment(deck).items():
            if name.startswith(("FLIGHTDECK_", "MLFLOW_")):
                os.environ[name] = value
        context = build_context()
        with AirflowClient.of(deck) as client:
            story = Story(deck, client, context, console)
            runs = story.tell()
            table = summary(deck, context, runs, story.output)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return failure.report(error)
    console.print(table)
    console.print(f"[dim]{time.monotonic() - started:.0f} s. All servers stay up until `make stop`.[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
