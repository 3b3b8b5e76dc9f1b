"""reports/features/START_END.json: what check_features measured in a window, and its verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field, ValidationError

from pipelines.artifacts.document import Frozen, Number
from pipelines.errors import CorruptData
from pipelines.periods import NAME as PERIOD
from pipelines.periods import Period, PeriodField, name_of
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    from pipelines.store import Store

NAME = re.compile(rf"({PERIOD.pattern})_({PERIOD.pattern})\.json")


class FeatureProfile(Frozen):
    """One feature in a window of days: its rates and its finite range; None where there is no row, or no number.

    Attributes:
        infinite_share, out_of_range_share: of numbers; the second where there is a range to lie outside of.
        reference: the same of the days before; None where nothing is known of them.
    """

    null_rate: float | None
    min: Number | None
    max: Number | None
    infinite_share: float | None = None
    out_of_range_share: float | None = None
    reference: FeatureProfile | None = None


class Freshness(Frozen):
    """How old the newest row is at the end of a window, and how many of the entities seen have none but stale rows."""

    entities: int
    stale_entities: int
    stale_share: float | None
    ttl_hours: float | None
    newest: str | None
    newest_age_hours: float | None


class ViewHealth(Freshness):
    """What was measured of a view.

    Attributes:
        rows_a_day, entities_a_day: means over its partitions. reference_rows: of the days before.
        metrics: which bars are set on: of the rates and shares of features that of the worst one, named in `worst`.
    """

    rows: int
    rows_a_day: float
    entities_a_day: float
    reference_rows: int
    features: dict[str, FeatureProfile]
    metrics: dict[str, float | None]
    worst: dict[str, str]


class ViewReport(Frozen):
    """The verdict on one view, with what was measured of it beside; nothing of one that could not be measured."""

    model_config = ConfigDict(extra="allow")

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    metrics: dict[str, float | None] = Field(default_factory=dict)

    @classmethod
    def of(cls, health: ViewHealth, verdict: Verdict, reasons: Sequence[str]) -> ViewReport:
        return cls(**{**health.as_json(), "verdict": verdict, "reasons": tuple(reasons)})


class FeatureReport(Frozen):
    """The verdict on a window of days.

    Attributes:
        window: first period, and the one after the last.
    """

    window: tuple[PeriodField, PeriodField]
    verdict: Verdict
    reasons: tuple[str, ...]
    views: dict[str, ViewReport]

    @property
    def name(self) -> str:
        return f"{name_of(self.window[0])}_{name_of(self.window[1])}.json"


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


def overlapping(names: Iterable[str], start: Period, end: Period) -> list[str]:
    """The reports, by file name, whose window shares a period with [start, end)."""
    windows = {name: match.groups() for name in names if (match := NAME.fullmatch(name))}
    first, last = name_of(start), name_of(end)  # names sort as text, also those of what is no period at all
    return sorted(name for name, (begins, ends) in windows.items() if begins < last and ends > first)
