"""The rollout under way: its state, and how to end it by hand."""

from __future__ import annotations

import argparse
import getpass
from typing import TYPE_CHECKING

from pipelines.console import table
from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    from pipelines.context import Context


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("verb", choices=("status", "abort", "promote", "rollback"))
    parser.add_argument("--reason", metavar="TEXT", default="by hand", help="for the ledger")
    parser.add_argument("--actor", metavar="NAME", default=None, help="default: the user")


def answer(arguments: Arguments, context: Context) -> Answer:
    if arguments["verb"] == "status":
        return status(context)
    return end(arguments["verb"], arguments["reason"], arguments["actor"] or getpass.getuser(), context)


def status(context: Context) -> Answer:
    """The plan in force, the rollout under way, and the judge's last decision on it."""
    plan, rollout = context.plans.current(), context.rollouts.under_way()
    decisions = context.decisions.newest_on(rollout.name) if rollout else []
    decisions.sort(key=lambda look: int(look["evidence"]["plan"]))
    report = {
        "plan": vars(plan) if plan else None,
        "rollout": {"name": rollout.name, "version": rollout.version, "began": rollout.began_at} if rollout else None,
        "judged": {key: decisions[-1][key] for key in ("id", "as_of", "verdict", "reasons")} if decisions else None,
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
        rows += [
            ("rollout", f"{rollout.name}, since {rollout.began_at.isoformat()}" if rollout else "none is under way")
        ]
        if decisions:
            rows += [("judged", f"{decisions[-1]['verdict']} at {decisions[-1]['as_of']}")]
            rows += [("", reason) for reason in decisions[-1]["reasons"]]
        table.show(("", ""), rows, context.usecase.name)

    return report, show


def end(action: str, reason: str, actor: str, context: Context) -> Answer:
    """End the rollout under way by hand."""
    from pipelines.steps import execute

    rollout = context.rollouts.under_way()
    if rollout is None:
        raise InvalidInput(f"no rollout of {context.usecase.name} is under way; see `flightdeck models ledger`")
    inputs = {"rollout": rollout.name, "action": action, "reason": reason, "actor": actor}
    outputs = execute("finish_rollout", inputs, context)
    report = {"rollout": rollout.name, **outputs}
    action, why, champion = (outputs[key] for key in ("action", "reason", "champion"))
    text = f"rollout {rollout.name}: {action} ({why}); version {champion} has the traffic"
    return report, lambda: print(text)


COMMAND = Command("rollout", "Show the rollout, or end it by hand.", add, answer)
