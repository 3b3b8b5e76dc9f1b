"""The demo's last table: the results of its runs, read back from MLflow and the records by id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from infra.airflow_client import Run
from infra.deck import Deck
from pipelines.context import Context
from pipelines.redaction import redact

Output = Callable[[Run, str], dict[str, Any]]  # the outputs of a task of a run
SHOWN = ("roc_auc", "log_loss", "brier")


def summary(deck: Deck, context: Context, runs: Mapping[str, Run], output: Output) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    _add_training(table, context, runs["training"], output, "first model")
    if "monitoring" in runs:
        report = _add_monitoring(table, context, runs["monitoring"], output)
    if "retraining" in runs:
        _add_training(table, context, runs["retraining"], output, "challenger")
    if "rollout" in runs:
        _add_rollout(table, context)
    plan = context.plans.current()
    if plan is not None:
        _add_row(table, "now live", f"version {plan.champion}")
    _add_row(table, "Airflow", f"{deck.airflow_url}  (user admin, password in {deck.passwords_file})")
    mlflow = redact(deck.mlflow_url)
    _add_row(table, "MLflow", f"{mlflow}  (models {mlflow}/#/models/{context.usecase.name})")
    if "monitoring" in runs:
        page = f"#/experiments/{context.tracker.experiment_id}/runs/{report['run_id']}"
        _add_row(table, "", f"the drift report: {mlflow}/{page}")
    _add_row(table, "model server", f"{deck.serving_url}/docs")
    return table


def _add_training(table: Table, context: Context, run: Run, output: Output, title: str) -> None:
    registration, gate = output(run, "register"), output(run, "gate")
    version = context.models.resolve(version=registration["version"]) if registration["version"] else None
    if version:
        text = f"v{version.version} ({', '.join(version.aliases) or 'no alias'}), data {version.tags['data_version']}"
        _add_row(table, title, f"[bold]{context.usecase.name} {text}[/]")
    for family, run_id in output(run, "log_candidates")["runs"].items():
        mark = "  ← registered" if version and version.tags["family"] == family else ""
        _add_row(table, f"test of {family}", _format_metrics(context, run_id) + mark)
    decision = context.decisions.get(gate["decision_id"])
    _add_row(table, "gate", f"{gate['verdict']} (decision {gate['decision_id']})")
    if decision and gate["verdict"] != "PASS":
        _add_reasons(table, decision["reasons"])


def _add_monitoring(table: Table, context: Context, run: Run, output: Output) -> dict[str, Any]:
    report, decision = output(run, "report_drift"), output(run, "decide_retraining")
    _add_row(table, "first model, live", _format_metrics(context, report["run_id"]))
    _add_row(table, "retraining", f"[bold]{decision['verdict']}[/] (decision {decision['decision_id']})")
    _add_reasons(table, decision["reasons"])
    return report


def _add_rollout(table: Table, context: Context) -> None:
    """Add the ledger, which shows the course of the rollout and the reason for its ending."""
    ledger = context.ledger.entries()
    for entry in ledger:
        share = f", {entry.share:.0%} of the traffic" if entry.share else ""
        _add_row(table, f"{entry.at:%Y-%m-%d %H:%M}", f"{entry.action} v{entry.version}{share}")
    _add_reasons(table, ledger[-1].reason.split("; "))
    if decision := ledger[-1].evidence.get("decision_id"):
        _add_row(table, "", f"decision {decision}")


def _format_metrics(context: Context, run_id: str) -> str:
    metrics = context.tracker.run_metrics(run_id)
    return ", ".join(f"{name} {metrics[name]:.4f}" for name in SHOWN if name in metrics)


def _add_reasons(table: Table, reasons: list[str]) -> None:
    for reason in reasons:
        table.add_row("", Text(f"· {reason}"))


def _add_row(table: Table, name: str, value: str) -> None:
    table.add_row(name, Text.from_markup(value, overflow="fold"))
