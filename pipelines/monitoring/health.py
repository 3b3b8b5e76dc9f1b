"""What the health checks of the features said about the days of a monitored window."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from pipelines.errors import CorruptData

REPORT = re.compile(r"(\d{4}-\d{2}-\d{2})_(\d{4}-\d{2}-\d{2})\.json")
SHOWN = 20  # reasons


def overlapping(names: Iterable[str], start: date, end: date) -> list[str]:
    """The reports, START_END.json, whose window shares a day with [start, end)."""
    windows = {name: found.groups() for name in names if (found := REPORT.fullmatch(name))}
    first, last = start.isoformat(), end.isoformat()  # days of this form sort as text, also what is no day at all
    return sorted(name for name, (begins, ends) in windows.items() if begins < last and ends > first)


def require_report(report: Any) -> dict[str, Any]:
    """A report of check_features.

    Raises:
        CorruptData: if it lacks what a summary takes from it.
    """
    try:
        [str(report["window"][0]), str(report["verdict"]), [str(why) for why in report["reasons"]]]
        [view["verdict"] for view in dict(report["views"]).values()]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CorruptData(
            f"it is no report of check_features ({error!r}); check the features of its days again"
        ) from None
    return dict(report)


def summarize_health(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How many windows were checked and held, how often each view was, and why; None where none was checked."""
    if not reports:
        return None
    held = [report for report in reports if report["verdict"] != "PASS"]
    views = sorted({name for report in reports for name in report["views"]})
    return {
        "windows": len(reports),
        "held": len(held),
        "held_by_view": {
            name: sum(report["views"].get(name, {}).get("verdict") != "PASS" for report in held) for name in views
        },
        "reasons": [f"{report['window'][0]}: {why}" for report in held for why in report["reasons"]][:SHOWN],
    }


def told(health: Mapping[str, Any] | None) -> str:
    """One sentence for a reader."""
    if health is None:
        return "The health of the features was not checked on these days."
    if not health["held"]:
        return f"The features of these days were healthy ({health['windows']} checks)."
    views = ", ".join(f"{name} {count} times" for name, count in health["held_by_view"].items() if count)
    share = f"{health['held']} of {health['windows']}"
    return f"Health checks of the features held {share} windows ({views}); the summary names the reasons."
