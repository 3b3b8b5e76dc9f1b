"""The demo's last table: what its runs left, read back from MLflow and the records by the ids that they handed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from infra.airflow_client import Run
from infra.deck import Deck
from pipelines.context import Context
from pipelines.redaction import redact

Output = Callable[[Run, str], dict[str, Any]]  # what a task of a run handed on
SHOWN = ("roc_auc", "log_loss", "brier")


def summary(deck: Deck, context: Context, runs: Mapping[str, Run], output: Output) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    _trained(table, context, runs["training"], output, "first model")
    if "monitoring" in runs:
        report = _monitored(table, context, runs["monitoring"], output)
    if "retraining" in runs:
        _trained(table, context, runs["retraining"], output, "challenger")
    if "rollout" in runs:
        _rolled_out(table, context)
    plan = context.plans.current()
    if plan is not None:
        _row(table, "now live", f"version {plan.champion}")
    _row(table, "Airflow", f"{deck.airflow_url}  (user admin, password in {deck.passwords_file})")
    mlflow = redact(deck.mlflow_url)
    _row(table, "MLflow", f"{mlflow}  (models {mlflow}/#/models/{context.usecase.name})")
    if "monitoring" in runs:
        page = f"#/experiments/{context.tracker.experiment_id}/runs/{report['run_id']}"
        _row(table, "", f"the drift report: {mlflow}/{page}")
    _row(table, "model server", f"{deck.serving_url}/docs")
    return table


def _trained(table: Table, context: Context, run: Run, output: Output, title: str) -> None:
    registered, gated = output(run, "register"), output(run, "gate")
    version = context.models.resolve(version=registered["version"]) if registered["version"] else None
    if version:
        told = f"v{version.version} ({', '.join(version.aliases) or 'no alias'}), data {version.tags['data_version']}"
        _row(table, title, f"[bold]{context.usecase.name} {told}[/]")
    for family, run_id in output(run, "log_candidates")["runs"].items():
        chosen = "  ← registered" if version and version.tags["family"] == family else ""
        _row(table, f"test of {family}", _metrics(context, run_id) + chosen)
    decision = context.decisions.get(gated["decision_id"])
    _row(table, "gate", f"{gated['verdict']} (decision {gated['decision_id']})")
    if decision and gated["verdict"] != "PASS":
        _reasons(table, decision["reasons"])


def _monitored(table: Table, context: Context, run: Run, output: Output) -> dict[str, Any]:
    report, decided = output(run, "report_drift"), output(run, "decide_retraining")
    _row(table, "first model, live", _metrics(context, report["run_id"]))
    _row(table, "retraining", f"[bold]{decided['verdict']}[/] (decision {decided['decision_id']})")
    _reasons(table, decided["reasons"])
    return report


def _rolled_out(table: Table, context: Context) -> None:
    """The ledger, which tells how the rollout went and why it ended as it did."""
    ledger = context.ledger.entries()
    for entry in ledger:
        share = f", {entry.share:.0%} of the traffic" if entry.share else ""
        _row(table, f"{entry.at:%Y-%m-%d %H:%M}", f"{entry.action} v{entry.version}{share}")
    _reasons(table, ledger[-1].reason.split("; "))
    if decision := ledger[-1].evidence.get("decision_id"):
        _row(table, "", f"decision {decision}")


def _metrics(context: Context, run_id: str) -> str:
    metrics = context.tracker.run_metrics(run_id)
    return ", ".join(f"{name} {metrics[name]:.4f}" for name in SHOWN if name in metrics)


def _reasons(table: Table, reasons: list[str]) -> None:
    for reason in reasons:
        table.add_row("", Text(f"· {reason}"))


def _row(table: Table, name: str, told: str) -> None:
    table.add_row(name, Text.from_markup(told, overflow="fold"))
