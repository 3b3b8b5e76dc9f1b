"""reports/features/START_END.json: what check_features measured in a window of days, and its verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

from pydantic import ConfigDict, ValidationError

from pipelines.artifacts.document import Part
from pipelines.errors import CorruptData
from pipelines.store import Store
from pipelines.verdict import Verdict

NAME = re.compile(r"(\d{4}-\d{2}-\d{2})_(\d{4}-\d{2}-\d{2})\.json")


class ViewReport(Part):
    """The verdict on one view; what was measured of it stands beside."""

    model_config = ConfigDict(extra="allow")

    verdict: Verdict
    reasons: tuple[str, ...] = ()


class FeatureReport(Part):
    """The verdict on a window of days.

    Attributes:
        window: first day, and the day after the last.
    """

    window: tuple[date, date]
    verdict: Verdict
    reasons: tuple[str, ...]
    views: dict[str, ViewReport]

    @property
    def name(self) -> str:
        return f"{self.window[0]}_{self.window[1]}.json"


def read_feature_report(store: Store, uri: str) -> FeatureReport:
    """A report of check_features.

    Raises:
        MissingData, CorruptData: if it is not there, or no such report.
    """
    try:
        return FeatureReport.model_validate(store.read_json(uri))
    except ValidationError as error:
        at = ".".join(map(str, error.errors()[0]["loc"]))
        raise CorruptData(
            f"it is no report of check_features ({at or 'all of it'}: {error.errors()[0]['msg']}); check the features "
            "of its days again"
        ) from None


def overlapping(names: Iterable[str], start: date, end: date) -> list[str]:
    """The reports, by file name, whose window shares a day with [start, end)."""
    windows = {name: match.groups() for name in names if (match := NAME.fullmatch(name))}
    first, last = start.isoformat(), end.isoformat()  # days of this form sort as text, also what is no day at all
    return sorted(name for name, (begins, ends) in windows.items() if begins < last and ends > first)
