"""The registered versions: list, show, compare, rebuild; the promotion ledger; and which version served when."""

from __future__ import annotations

import argparse
import getpass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console import table
from pipelines.console.command import Answer, Arguments, Command, verbs
from pipelines.errors import CheckFailed, InvalidInput, MissingData
from pipelines.json_text import JsonObject

if TYPE_CHECKING:
    from pipelines.context import Context

SHOWN = {"sha256": 12, "as_of": 10, "git_commit": 12}  # characters in a table
FIELDS = ("family", "as_of", "sha256", "rollout.verdict", "verify.verdict")


def add(parser: argparse.ArgumentParser) -> None:
    verb = verbs(parser)
    verb("list", "List the versions, their aliases, and aliases that were set by hand.")
    show = verb("show", "Show a version: aliases, run and tags.")
    show.add_argument("version", metavar="N")
    show.add_argument("--card", action="store_true", help="its model card, as Markdown")
    show.add_argument("--html", metavar="FILE", help="write its model card there, as a page")
    compare = verb("compare", "Compare two versions: metrics on the same rows, parameters, data, slices.")
    compare.add_argument("versions", metavar="N", nargs=2)
    ledger = verb("ledger", "Show who did what to which version, when and why.")
    ledger.add_argument("--version", metavar="N", help="only what concerns this version")
    served_at = verb("served-at", "Tell which version answered at an instant, and for which share of the traffic.")
    served_at.add_argument("time", metavar="TIME", help="ISO 8601 with a zone, or a local day, which then begins")
    verify = verb("verify", "Rebuild a version from its records, and compare the scores.")
    verify.add_argument("version", metavar="N")
    verify.add_argument("--allow-dirty", action="store_true", help="also where files differed from the commit")
    verify.add_argument("--tolerance", metavar="X", type=float, default=1e-5, help="of a score (default: %(default)s)")
    verify.add_argument("--repository", metavar="DIR", help="a clone that has the commit (default: where this code is)")


def answer(arguments: Arguments, context: Context) -> Answer:
    verb = arguments["verb"]
    if verb == "list":
        return versions(context)
    if verb == "show":
        return show(arguments["version"], arguments["card"], arguments["html"], context)
    if verb == "compare":
        from pipelines.console.comparison import compare

        one, two = (context.models.require(number) for number in arguments["versions"])
        return compare(one, two, context)
    if verb == "ledger":
        return ledger(arguments["version"], context)
    if verb == "served-at":
        return served_at(arguments["time"], context)
    repository = Path(arguments["repository"]) if arguments["repository"] else None
    return verify(arguments["version"], repository, arguments["allow_dirty"], arguments["tolerance"], context)


def versions(context: Context) -> Answer:
    """Every registered version, with its aliases (those set by hand are marked), its traffic and the verdicts on it."""
    from pipelines.deployment.aliases import differing
    from pipelines.records import CHAMPION, share_of

    plan = context.plans.current()
    by_hand, champion = differing(context), context.models.aliases().get(CHAMPION)
    rows_found: list[JsonObject] = [
        {
            "version": one.version,
            "aliases": list(one.aliases),
            "by_hand": [alias for alias in one.aliases if alias in by_hand],
            "traffic": share_of(plan, one.version),
            **{field: one.tags.get(field, "") for field in FIELDS},
        }
        for one in context.models.versions()
    ]
    heads = ("version", "aliases", "traffic", "family", "as of", "sha256", "rollout", "rebuilt")

    def print_table() -> None:
        rows = [
            [
                one["version"],
                ", ".join(f"{alias}{' (by hand)' if alias in one['by_hand'] else ''}" for alias in one["aliases"]),
                f"{one['traffic']:.0%}" if one["traffic"] else "",
                *(str(one[field])[: SHOWN.get(field)] for field in FIELDS),
            ]
            for one in rows_found
        ]
        table.show(heads, rows, f"versions of {context.usecase.name}")
        for alias, version in by_hand.items():
            where = f"names version {version}" if version else "was removed"
            print(f"alias {alias} {where} by hand; `flightdeck reconcile_aliases` puts that into the ledger")
        if plan is not None and champion != plan.champion:
            what = f"names version {champion}" if champion else "is gone: set it again"
            print(f"version {plan.champion} is in force, and alias {CHAMPION} {what}")

    return rows_found, print_table


def show(number: str, card: bool, page: str | None, context: Context) -> Answer:
    """The aliases, run and tags of a version, or its card."""
    from pipelines.registration import rendering
    from pipelines.registration.version_cards import read_card
    from pipelines.tracking.integrity import OLD

    version = context.models.require(number)
    content = read_card(version, context)
    if (card or page) and content is None:
        raise MissingData(f"version {number} has no model card; only those that the chain registered have one")
    if page and content is not None:
        Path(page).write_text(rendering.page(content))
    if card and content is not None:
        return content.as_json(), lambda: print(rendering.markdown(content))
    report = {"version": number, "aliases": list(version.aliases), "run_id": version.run_id, "tags": dict(version.tags)}

    def print_table() -> None:
        rows = [("aliases", ", ".join(version.aliases) or "none"), ("run", version.run_id)]
        rows += sorted((name, value) for name, value in version.tags.items() if name != OLD)
        table.show(("", ""), rows, f"version {number} of {context.usecase.name}")
        if page:
            print(f"its model card is in {page}")

    return report, print_table


def ledger(version: str | None, context: Context) -> Answer:
    """The promotion ledger, changes of aliases included."""
    from pipelines.deployment.aliases import differing

    entries = context.ledger.entries(aliases=True)
    if version is not None:
        entries = [entry for entry in entries if version in (entry.version, entry.previous)]

    def print_table() -> None:
        rows = [
            (
                f"{e.at:%Y-%m-%d %H:%M}",
                e.actor,
                e.title,
                f"{e.previous or '-'} → {e.version or 'none'}",
                f"{e.share:.0%}",
                str(e.evidence.get("decision_id") or ""),
                e.reason.partition("; ")[0],
            )
            for e in entries
        ]
        heads = ("at", "who", "action", "versions", "share", "decision", "why")
        table.show(heads, rows, f"ledger of {context.usecase.name}")
        for alias, now in differing(context).items():
            print(f"alias {alias} is {now or 'gone'} in MLflow, by hand, and has no entry here yet")

    return [vars(entry) for entry in entries], print_table


def served_at(text: str, context: Context) -> Answer:
    """The versions that answered at an instant, by the plan that was in force."""
    from pipelines.instants import midnight

    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not an instant; give ISO 8601, such as 2013-09-01T12:00:00+00:00") from None
    if at.tzinfo is None:
        if len(text) > len("2013-09-01"):
            raise InvalidInput(f"{text!r} has no zone; add one, such as +00:00")
        at = midnight(at.date(), context.usecase.timezone)
    plan = context.plans.at(at)
    shares: dict[str, float] = {}
    if plan is not None:
        share = plan.share if plan.challenger else 0.0
        shares = {plan.champion: 1.0 - share, **({plan.challenger: share} if plan.challenger and share else {})}
    report = {"at": at.isoformat(), "versions": shares, "plan": vars(plan) if plan else None}

    def print_table() -> None:
        if plan is None:
            print(f"nothing served at {at.isoformat()}")
            return
        rows = [(f"version {version}", f"{share:.0%}") for version, share in shares.items()]
        if plan.challenger and not plan.share:
            rows.append((f"version {plan.challenger}", "in shadow: scored, never answering"))
        rows.append(("plan", f"{plan.version}, of rollout {plan.rollout}, since {plan.since.isoformat()}"))
        table.show(("", ""), rows, f"{context.usecase.name} at {at.isoformat()}")

    return report, print_table


def verify(number: str, repository: Path | None, allow_dirty: bool, tolerance: float, context: Context) -> Answer:
    """Rebuild a version and record the result; CheckFailed if it is not the same."""
    from pipelines.console import data
    from pipelines.registration.verify import Rebuilding
    from pipelines.registration.verify import verify as rebuild_and_compare
    from pipelines.verdict import Verdict

    def restore(version: str, to: Path) -> None:
        data.restore(version, None, str(to), context)

    rebuilding = Rebuilding(restore, repository, allow_dirty, tolerance)
    outcome = rebuild_and_compare(number, context, rebuilding, getpass.getuser())
    if outcome.verdict is not Verdict.PASS:
        raise CheckFailed(f"version {number} of {context.usecase.name}: {outcome.verdict.value}: {outcome.why}")
    report = outcome.as_json()
    return report, lambda: table.show(("", ""), [(k, str(v)) for k, v in report.items()], f"version {number}, rebuilt")


COMMAND = Command("models", "Registered versions: list, show, compare, verify; ledger, served-at.", add, answer)
