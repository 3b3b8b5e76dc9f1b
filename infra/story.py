"""The demo: the whole chain on real data, through the real scheduler, told in the terminal.

It only asks Airflow to run DAGs and reads back what they left: every figure of the last table comes from MLflow or from
the records, by id. Run again, it finds the runs that succeeded and goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.airflow_client import AirflowClient, AirflowError, Run, States
from infra.deck import Deck, DeckError, environment, load_deck
from pipelines.context import Context, build_context
from pipelines.errors import FlightdeckError

MARKS = {"success": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[dim]-[/]", "running": "[yellow]▸[/]"}


class Story:
    def __init__(self, deck: Deck, client: AirflowClient, context: Context, console: Console) -> None:
        self.deck, self.client, self.context, self.console = deck, client, context, console
        self.name = context.usecase.name

    def tell(self) -> dict[str, Run]:
        """Run the story over the days of params.yaml's desk, and give its runs.

        Raises:
            AirflowError: when one of them fails, after showing its log's tail.
        """
        desk = self.context.params.desk
        dags = {part: f"{self.name}_{part}" for part in ("data", "training", "deployment", "monitoring")}
        self.client.wait_for_dags(list(dags.values()))
        for dag_id in dags.values():
            self.client.unpause(dag_id)
        first = {"start": str(desk.start), "end": str(desk.as_of), "start_training": True}
        data = self.run(dags["data"], first, f"Data, {desk.start} to {desk.as_of}")
        training = self.client.triggered_by(data, dags["training"])
        training = self.follow(training, "Training, started by the features asset")
        if self.output(training, "register")["registered"]:
            deployment = self.client.triggered_by(training, dags["deployment"])
            self.follow(
                deployment, "Deployment, started by the challenger asset: the first model ever goes straight live"
            )
        second = {"start": str(desk.as_of), "end": str(desk.monitor_end)}
        watched = self.run(dags["data"], second, f"Data, {desk.as_of} to {desk.monitor_end}")
        as_of = min(desk.monitor_end + timedelta(days=2), self.context.usecase.end)
        watch = {**second, "as_of": str(as_of), "request_retraining": "no"}
        monitoring = self.run(dags["monitoring"], watch, f"Monitoring, {desk.as_of} to {desk.monitor_end}")
        return {"data": data, "training": training, "watched": watched, "monitoring": monitoring}

    def run(self, dag_id: str, conf: Mapping[str, Any], title: str) -> Run:
        """The run with this configuration and these params: the one that is there already, else a new one."""
        identity = json.dumps([conf, self.context.params.model_dump(mode="json")], sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        run_id = self.client.trigger(dag_id, conf, run_id=f"demo_{conf['start']}_{conf['end']}_{digest}")
        return self.follow(self.client.run(dag_id, run_id), title)

    def follow(self, run: Run, title: str) -> Run:
        """Show a run's tasks until it has ended. One that failed earlier goes on from its failed tasks."""
        if run.state == "failed":
            self.client.retry(run)
        started = time.monotonic()
        with Live(console=self.console, refresh_per_second=2, transient=not self.console.is_terminal) as live:

            def show(tasks: States) -> None:
                live.update(_progress(title, tasks, time.monotonic() - started))

            ended = self.client.wait(run.dag_id, run.run_id, show)
            show(ended.tasks)
        if not self.console.is_terminal:
            self.console.print(_progress(title, ended.tasks, ended.seconds or 0))
        if ended.ok:
            return ended
        for task, tail in self.client.failures(ended).items():
            self.console.print(f"[red]{ended.dag_id}.{task} failed:[/]\n{tail}", highlight=False)
        raise AirflowError(
            f"{ended.dag_id} {ended.run_id}: {ended.state}; look at {self.deck.airflow_url}, then run the demo again"
        )

    def outcome(self, runs: Mapping[str, Run]) -> dict[str, Any]:
        """What the runs left, read back from MLflow and the records by the ids that they handed on."""
        registered = self.output(runs["training"], "register")
        logged = self.output(runs["training"], "log_candidates")
        gated = self.output(runs["training"], "gate")
        decided = self.output(runs["monitoring"], "decide_retraining")
        report = self.output(runs["monitoring"], "report_drift")
        tracker, records = self.context.tracker, self.context.records
        version = self.context.models.resolve(version=registered["version"]) if registered["version"] else None
        return {
            "version": version,
            "candidates": {family: tracker.run_metrics(run_id) for family, run_id in logged["runs"].items()},
            "gate": records.decision(gated["decision_id"]),
            "retrain": records.decision(decided["decision_id"]),
            "watched": tracker.run_metrics(report["run_id"]),
            "reports": [report["report_uri"], report["quality_uri"]],
            "report_run": report["run_id"],
            "experiment": tracker.experiment_id,
        }

    def output(self, run: Run, task_id: str) -> dict[str, Any]:
        return dict(self.client.xcom(run.dag_id, run.run_id, task_id))


def _progress(title: str, tasks: States, seconds: float) -> Text:
    marks = "  ".join(f"{MARKS.get(state, '[dim]·[/]')} {task}" for task, state in _in_order(tasks))
    return Text.from_markup(f"[bold]{title}[/] [dim]{seconds:.0f} s[/]\n  {marks}")


def _in_order(tasks: States) -> Iterable[tuple[str, str]]:
    rank = {"success": 0, "skipped": 0, "failed": 1, "running": 2}
    return sorted(tasks.items(), key=lambda task: rank.get(task[1], 3))


def _summary(story: Story, outcome: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2))
    version, gate, retrain = outcome["version"], outcome["gate"], outcome["retrain"]
    if version:
        table.add_row("data version", version.tags["data_version"])
        table.add_row("model version", f"{story.name} v{version.version} ({', '.join(version.aliases) or 'no alias'})")
    for family, metrics in outcome["candidates"].items():
        chosen = "  ← registered" if version and version.tags["family"] == family else ""
        shown = ", ".join(f"{name} {metrics[name]:.4f}" for name in ("roc_auc", "log_loss", "brier") if name in metrics)
        table.add_row(f"test of {family}", shown + chosen)
    table.add_row("gate", f"{gate['verdict']} (decision {gate['id']})")
    watched = outcome["watched"]
    shown = ", ".join(f"{name} {watched[name]:.4f}" for name in ("roc_auc", "log_loss", "brier") if name in watched)
    table.add_row("watched window", shown)
    table.add_row("retraining", f"[bold]{retrain['verdict']}[/] (decision {retrain['id']})")
    for reason in retrain["reasons"]:
        table.add_row("", Text(f"· {reason}"))
    for uri in filter(None, outcome["reports"]):
        table.add_row("report", Text(uri, overflow="fold"))
    airflow = f"{story.deck.airflow_url}  (user admin, password in {story.deck.passwords_file})"
    table.add_row("Airflow", Text(airflow, overflow="fold"))
    run = f"#/experiments/{outcome['experiment']}/runs/{outcome['report_run']}"
    table.add_row("MLflow", f"{story.deck.mlflow_url}  (model {story.deck.mlflow_url}/#/models/{story.name})")
    table.add_row("", Text(f"the report: {story.deck.mlflow_url}/{run}", overflow="fold"))
    return table


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
            outcome = story.outcome(story.tell())
    except (DeckError, FlightdeckError) as error:
        print(f"flightdeck: {error}", file=sys.stderr)
        return error.exit_code
    console.print(_summary(story, outcome))
    console.print(f"[dim]{time.monotonic() - started:.0f} s. Both stay up until `make stop`.[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
