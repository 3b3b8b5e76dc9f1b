"""What a person asks and orders besides the steps: rollouts, models, and why a prediction was what it was."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.errors import InvalidInput, MissingData

if TYPE_CHECKING:
    from pipelines.context import Context

SHOWN = {"sha256": 12, "as_of": 10}  # characters in a table
Answer = tuple[Any, Callable[[], None]]  # JSON-able, and what prints it for a person


def add_commands(commands: Any) -> None:
    """Add `rollout`, `models`, `clock`, `explain` and `quarantine` beside the steps."""
    from pipelines import quarantine_console

    quarantine_console.add_commands(commands)
    about = {
        "rollout": ("Show the rollout, or end it by hand.", ("status", "abort", "promote", "rollback")),
        "models": ("List the registered versions, or the promotion ledger.", ("list", "ledger")),
    }
    for name, (summary, verbs) in about.items():
        command = _command(commands, name, summary)
        command.add_argument("verb", choices=verbs)
        if name == "rollout":
            command.add_argument("--reason", metavar="TEXT", default="by hand", help="for the ledger")
            command.add_argument("--actor", metavar="NAME", default=None, help="default: the user")
    clock = _command(commands, "clock", "Show the time of server and judge, or set it where a replay drives it.")
    clock.add_argument("--at", metavar="INSTANT", help="an ISO instant with its offset, or a local day of the use case")
    explain = _command(commands, "explain", "Show what a prediction rests on: values, their ages, versions, scores.")
    explain.add_argument("prediction_id", metavar="PREDICTION_ID")


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    command.add_argument("--params", metavar="FILE", help="params file (default: FLIGHTDECK_PARAMS or params.yaml)")
    command.add_argument("--home", metavar="DIR", help="where runs write (default: FLIGHTDECK_HOME or var)")
    command.add_argument("--json", action="store_true", help="JSON instead of tables")
    return command


def answer(arguments: Mapping[str, Any], context: Context) -> None:
    """Do what was asked, and print it.

    Raises:
        InvalidInput: if there is no such prediction, or no rollout to end.
    """
    from pipelines import quarantine_console

    asked = arguments["step"]
    if asked == quarantine_console.NAME:
        found = quarantine_console.answer(arguments, context)
    elif asked == "explain":
        found = explain(arguments["prediction_id"], context)
    elif asked == "clock":
        found = clock(arguments["at"], context)
    elif asked == "models":
        found = versions(context) if arguments["verb"] == "list" else ledger(context)
    elif arguments["verb"] == "status":
        found = status(context)
    else:
        found = end(arguments["verb"], arguments["reason"], arguments["actor"] or getpass.getuser(), context)
    if arguments["json"]:
        print(json.dumps(found[0], indent=2, default=str))
    else:
        found[1]()


def clock(at: str | None, context: Context) -> Answer:
    """The present instant; `at` sets it first, also back."""
    from datetime import datetime

    from pipelines.clock import ReplayClock
    from pipelines.windows import midnight

    if at is not None:
        if not isinstance(context.clock, ReplayClock):
            raise InvalidInput("the clock is the wall's, which nobody sets; to drive it, set `clock: replay` in params")
        try:
            instant = datetime.fromisoformat(at)
        except ValueError:
            raise InvalidInput(f"{at!r} is no instant; give one such as 2013-09-01 or 2013-09-01T12:00-04:00") from None
        context.clock.start(instant if instant.tzinfo else midnight(instant.date(), context.usecase.timezone))
    now = context.clock.now().isoformat()
    return {"now": now, "clock": context.params.clock}, lambda: print(f"{now} ({context.params.clock})")


def status(context: Context) -> Answer:
    """The plan in force, the rollout under way, and the judge's last word on it."""
    from pipelines.deployment.state import under_way

    rollouts = context.records.rollouts(context.usecase.name)
    plan, rollout = rollouts.plan(), under_way(rollouts)
    about = context.records.newest_decisions(context.usecase.name, rollout.name) if rollout else []
    about.sort(key=lambda look: int(look["evidence"]["plan"]))
    told = {
        "plan": vars(plan) if plan else None,
        "rollout": {"name": rollout.name, "version": rollout.version, "began": rollout.at} if rollout else None,
        "judged": {key: about[-1][key] for key in ("id", "as_of", "verdict", "reasons")} if about else None,
    }

    def show() -> None:
        rows = [("nothing", "no version serves yet")]
        if plan:
            rows = [
                ("champion", f"version {plan.champion}"),
                ("plan", f"{plan.version}, in force since {plan.since.isoformat()}"),
            ]
        if plan and plan.challenger:
            rows += [("challenger", f"version {plan.challenger}, stage {plan.stage}, {plan.share:.0%} of the traffic")]
        rows += [("rollout", f"{rollout.name}, since {rollout.at.isoformat()}" if rollout else "none is under way")]
        if about:
            rows += [("judged", f"{about[-1]['verdict']} at {about[-1]['as_of']}"), *_lines(about[-1]["reasons"])]
        _table(("", ""), rows, context.usecase.name)

    return told, show


def end(action: str, reason: str, actor: str, context: Context) -> Answer:
    """End the rollout under way by hand."""
    from pipelines.deployment.state import under_way
    from pipelines.steps import execute

    rollout = under_way(context.records.rollouts(context.usecase.name))
    if rollout is None:
        raise InvalidInput(f"no rollout of {context.usecase.name} is under way; see `flightdeck models ledger`")
    asked = {"rollout": rollout.name, "action": action, "reason": reason, "actor": actor}
    done = execute("finish_rollout", asked, context)
    told = {"rollout": rollout.name, **done}
    text = f"rollout {rollout.name}: {done['action']} ({done['reason']}); version {done['champion']} has the traffic"
    return told, lambda: print(text)


def versions(context: Context) -> Answer:
    """Every registered version, with its aliases and the verdict on it."""
    fields = ("family", "as_of", "sha256", "rollout.verdict")
    found: list[dict[str, Any]] = [
        {"version": one.version, "aliases": list(one.aliases), **{field: one.tags.get(field, "") for field in fields}}
        for one in context.models.versions()
    ]
    heads = ("version", "aliases", "family", "as of", "sha256", "rollout")
    rows = [
        [one["version"], ", ".join(one["aliases"]), *(str(one[field])[: SHOWN.get(field)] for field in fields)]
        for one in found
    ]
    return found, lambda: _table(heads, rows, f"versions of {context.usecase.name}")


def ledger(context: Context) -> Answer:
    """Every entry of the promotion ledger."""
    entries = context.records.rollouts(context.usecase.name).ledger()
    rows = [
        (f"{e.at:%Y-%m-%d %H:%M}", e.actor, e.action, f"{e.previous or '-'} → {e.version}", f"{e.share:.0%}", why)
        for e in entries
        for why in [e.reason.partition("; ")[0]]
    ]
    heads = ("at", "who", "action", "versions", "share", "why")
    return [vars(entry) for entry in entries], lambda: _table(heads, rows, f"ledger of {context.usecase.name}")


def explain(prediction_id: str, context: Context) -> Answer:
    """What one prediction rests on."""
    log = context.records.predictions(context.usecase.name)
    found = log.get([prediction_id])
    if not found:
        raise MissingData(f"no prediction has the id {prediction_id!r}; ids are in the answers of the model server")
    made = found[0]

    def show() -> None:
        rows = [
            ("score", _told(made.score)),
            (
                "answered by",
                f"version {made.served}, of {', '.join(f'{v}: {_told(s)}' for v, s in made.scores.items())}",
            ),
            ("at", made.predicted_at.isoformat()),
            ("plan", f"{made.plan}, {made.share:.0%} of the traffic to the challenger"),
            ("split by", made.entity),
            ("block", made.block.isoformat()),
            *((f"failed: {version}", what) for version, what in made.errors.items()),
            *((f"sent: {name}", _told(value)) for name, value in made.request.items()),
        ]
        _table(("", ""), rows, f"prediction {prediction_id}")
        values = [(name, _told(value), _age(made.ages.get(name))) for name, value in made.features.items()]
        _table(("feature", "value", "known for"), values, "what the versions read")

    return vars(made), show


def _told(value: Any) -> str:
    return "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _lines(reasons: Sequence[str]) -> list[tuple[str, str]]:
    return [("", reason) for reason in reasons]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=any(heads), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in heads[:-1]:
        table.add_column(head, no_wrap=True)
    table.add_column(heads[-1], overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
