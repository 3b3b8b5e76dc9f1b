"""The rollout under way: its state, what to expect of the next one, and how to end it by hand."""

from __future__ import annotations

import argparse
import getpass
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pipelines.console import table
from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.errors import InvalidInput
from pipelines.json_text import JsonObject
from pipelines.params import first_problem
from pipelines.params.rollout import JudgeRules

if TYPE_CHECKING:
    from pipelines.context import Context


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("verb", choices=("status", "plan", "abort", "promote", "rollback"))
    parser.add_argument(
        "version", nargs="?", help="of `plan`: the challenger; default: the one under way, or the newest"
    )
    parser.add_argument(
        "--margin", type=float, metavar="SHARE", help="of `plan`: in place of rollout.judge.margin_share"
    )
    parser.add_argument("--days", type=float, metavar="N", help="of `plan`: in place of rollout.judge.max_days")
    parser.add_argument("--reason", metavar="TEXT", default="by hand", help="for the ledger")
    parser.add_argument("--actor", metavar="NAME", default=None, help="default: the user")


def answer(arguments: Arguments, context: Context) -> Answer:
    if arguments["verb"] != "plan" and any(arguments[name] is not None for name in ("version", "margin", "days")):
        raise InvalidInput(f"`rollout {arguments['verb']}` takes no VERSION, --margin or --days; those are of `plan`")
    if arguments["verb"] == "status":
        return status(context)
    if arguments["verb"] == "plan":
        return plan(arguments["version"], arguments["margin"], arguments["days"], context)
    return end(arguments["verb"], arguments["reason"], arguments["actor"] or getpass.getuser(), context)


def status(context: Context) -> Answer:
    """The plan in force, the rollout under way, and the judge's last decision on it."""
    plan, rollout = context.plans.current(), context.rollouts.under_way()
    decisions = context.decisions.newest_on(rollout.name) if rollout else []
    decisions.sort(key=lambda look: int(look["evidence"]["plan"]))
    year = of_a_year(context)
    report = {
        "year": year,
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
        endings = ", ".join(f"{count} {action}" for action, count in year["endings"].items()) or "none has ended"
        rows += [("a year", f"{year['rollouts']} rollouts began in the 365 days up to the last one: {endings}")]
        if year["rollouts"]:
            rows += [
                (
                    "",
                    f"of that many, {year['false_at_most']:.2g} may be rolled back falsely on average, and "
                    f"as many promoted falsely (alpha {year['alpha']:g} each)",
                )
            ]
        table.show(("", ""), rows, context.usecase.name)

    return report, show


def of_a_year(context: Context) -> JsonObject:
    """How many rollouts began in the 365 days before the last one, how they ended, and how many verdicts may be false.

    Each is rolled back falsely with probability alpha at most, and promoted falsely with alpha at most.
    """
    rollouts = [one for one in context.rollouts.all() if not one.direct]
    if rollouts:
        since = rollouts[-1].began_at - timedelta(days=365)
        rollouts = [one for one in rollouts if one.began_at > since]
    alpha = context.params.rollout.judge.alpha
    endings = Counter(str(one.ending.action) for one in rollouts if one.ending)
    return {
        "rollouts": len(rollouts),
        "endings": dict(sorted(endings.items())),
        "alpha": alpha,
        "false_at_most": alpha * len(rollouts),
    }


def plan(version: str | None, margin: float | None, days: float | None, context: Context) -> Answer:
    """The days to expect of a rollout, by the effect and the margin, and whether its limit allows them.

    Raises:
        InvalidInput: if there is no version to compare, or no champion.
    """
    from pipelines.deployment.baseline import freeze
    from pipelines.deployment.expect import advice, expectation
    from pipelines.judge.plan import as_markdown
    from pipelines.records import CHAMPION

    settings = context.params.rollout
    given = {"margin_share": margin, "max_days": days}
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        judge = JudgeRules.model_validate({**settings.judge.model_dump(), **overrides})
    except ValidationError as error:
        raise InvalidInput(f"--margin or --days: {first_problem(error)}") from None
    settings = settings.model_copy(update={"judge": judge})
    rollout, in_force = context.rollouts.under_way(), context.plans.current()
    if rollout is not None and version in (None, rollout.version):
        version, champion, baseline = rollout.version, rollout.champion, rollout.baseline
    else:
        champion = in_force.champion if in_force else context.models.aliases().get(CHAMPION)
        versions = [one.version for one in context.models.versions() if one.version != champion]
        if champion is None or not (version or versions):
            raise InvalidInput("there is no champion and a second version to compare; register them first")
        version = version or max(versions, key=int)
        baseline = freeze(context, champion, context.models.require(version))
    expected, recommendation = expectation(baseline, settings), advice(baseline, settings)
    report = {
        "version": version,
        "champion": champion,
        "advice": recommendation,
        "foretold": baseline.foretold,
        "plan": expected.as_json() if expected else None,
    }

    def show() -> None:
        print(f"Version {version} against champion {champion}: {recommendation}\n")
        if expected is not None:
            print("Expected days (in brackets: of an oracle that knows the variance and looks once):\n")
            print(as_markdown(expected), end="")

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


COMMAND = Command("rollout", "Show the rollout, what to expect of the next one, or end it by hand.", add, answer)
