"""The assessment of a table's results: which rows to quarantine, and whether the chain may continue."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipelines.closed import WEEK, Closed
from pipelines.json_text import JsonObject
from pipelines.periods import Calendar, Period
from pipelines.store.layout import partition_name
from pipelines.usecase import RawTable
from pipelines.validation.chunks import Partition
from pipelines.validation.quarantine import Quarantine
from pipelines.validation.suite import Result, Severity

if TYPE_CHECKING:
    from pipelines.params import Validation

MOST_NAMED = 3  # partitions or reasons that a message names
LONG = 200  # characters of a value in a message or report


@dataclass(frozen=True)
class Assessment:
    """The assessment of one table.

    Attributes:
        partitions: the partitions that were read.
        quarantine: the rows to quarantine.
        rejections: reasons why the chain must stop; empty where it may continue.
        warnings: failures that do not stop the chain.
        released: the number of bad rows that were released from quarantine.
    """

    table: str
    partitions: tuple[Partition, ...]
    results: tuple[Result, ...]
    quarantine: Quarantine
    rejections: tuple[str, ...]
    warnings: tuple[str, ...]
    released: int = 0

    @property
    def rows(self) -> int:
        return sum(partition.rows for partition in self.partitions)

    @property
    def quarantined(self) -> dict[str, int]:
        """Rows by reason; a row with two reasons counts under both."""
        return dict(self.quarantine.counts())

    def as_json(self) -> JsonObject:
        return {
            "rows": self.rows,
            "quarantined_rows": self.quarantine.total,
            "quarantined": self.quarantined,
            "released_rows": self.released,
            "days": {partition_name(one): self.quarantine.reasons(one) for one in self.quarantine.periods},
            "rejections": list(self.rejections),
            "warnings": list(self.warnings),
            "expectations": [
                {
                    "expectation": result.check.type,
                    "kwargs": {name: finite(value) for name, value in result.check.kwargs.items()},
                    "severity": result.check.severity.value,
                    "reason": result.check.reason,
                    "success": result.success,
                    "error": result.error,
                    "observed": {name: finite(value) for name, value in result.observed.items()},
                }
                for result in self.results
            ],
        }


@dataclass(frozen=True)
class Findings:
    """The findings about one table.

    Attributes:
        results: one for each expectation that had rows to judge.
        quarantine: the rows that fail a quarantine expectation.
        expectations: the number of the table's expectations; a table without any is rejected.
        disagreements: masks that do not select as many rows as Great Expectations counts.
        released: the number of bad rows that were released from quarantine.
    """

    partitions: Sequence[Partition]
    results: Sequence[Result]
    quarantine: Quarantine
    expectations: int
    disagreements: Sequence[str] = ()
    released: int = 0


def assess(table: RawTable, findings: Findings, params: Validation, missed: Sequence[Period]) -> Assessment:
    """Assess one table. A partition without rows is rejected where the table is required, else warned of.

    Args:
        missed: the periods without rows that should have some.
    """
    rejections, warnings = list(findings.disagreements), list[str]()
    if not findings.expectations:
        rejections.append(f"{table.name} has no expectations; declare them")
    gap = gaps(table, findings.partitions, missed)
    (rejections if table.required else warnings).extend(gap)
    failures = [result for result in findings.results if not result.success]
    rejections += [f"{table.name}: {failure(r)}" for r in findings.results if stops(r)]
    rejections += breaker(table.name, findings.partitions, findings.quarantine, params, table.required)
    warnings += [f"{table.name}: {failure(r)}" for r in failures if not stops(r) and is_warning(r)]
    return Assessment(
        table.name,
        tuple(findings.partitions),
        tuple(findings.results),
        findings.quarantine,
        tuple(rejections),
        tuple(warnings),
        released=findings.released,
    )


def gaps(table: RawTable, partitions: Sequence[Partition], missed: Sequence[Period]) -> list[str]:
    """The message about partitions without rows that should have some, if there are any."""
    remedy = "look at its source and ingest them again"
    if not table.daily:
        return [] if all(partition.rows for partition in partitions) else [f"{table.name} has no rows; {remedy}"]
    if not missed:
        return []
    often = f", though it has rows on {table.days_a_week} days a week" if table.days_a_week < WEEK else ""
    where = f"on {len(missed)} {_noun(missed)}, the first {min(missed)}"
    return [f"{table.name} has no rows {where}{often}; {remedy}, or declare such days as closed"]


def missing(
    table: RawTable, partitions: Sequence[Partition], before: Mapping[Period, int], calendar: Calendar, closed: Closed
) -> list[Period]:
    """The periods without rows that are missed: not of a closed day, nor of one that a week may do without.

    Args:
        before: rows of the periods of the six local days before the first one, as far as there are any.
    """
    rows = {**before, **{one.period: one.rows for one in partitions if one.period is not None}}
    days: dict[date, int] = defaultdict(int)
    for period, count in rows.items():
        days[calendar.day_of(period)] += count
    empty = [one.period for one in partitions if one.period is not None and not one.rows]
    return [
        period
        for period in empty
        if not closed.on(day := calendar.day_of(period)) and not _spared(day, days, table.days_a_week, closed)
    ]


def _spared(day: date, rows: Mapping[date, int], days_a_week: int, closed: Closed) -> bool:
    """Whether a day without rows leaves enough days with rows among the seven that end with it.

    Days before the first that is known count as if they had rows.
    """
    if days_a_week >= WEEK:
        return False
    week = [day - timedelta(n) for n in range(WEEK)]
    first = min(rows)
    return sum(one < first or rows.get(one, 0) > 0 or closed.on(one) for one in week) >= days_a_week


def breaker(
    table: str, partitions: Sequence[Partition], quarantine: Quarantine, params: Validation, required: bool
) -> list[str]:
    """The message about partitions with too many bad rows, if there are any.

    A partition trips the breaker when it loses more than `quarantine_floor_rows` rows and more than
    `max_quarantine_share` of its rows, or all of its rows where the table is required.
    """
    tripped = []
    for partition in partitions:
        bad = len(quarantine.rows(partition.period))
        share = bad / partition.rows if partition.rows else 0.0
        over = bad > params.quarantine_floor_rows and share > params.max_quarantine_share
        if over or (required and bad and bad == partition.rows):
            tripped.append((share, partition.period, bad, partition.rows))
    tripped.sort(key=lambda one: (-one[0], str(one[1])))
    descriptions = [
        f"{table}{_on(period)}: {share:.2%} of {rows} rows would be quarantined ({_reasons(quarantine, period)})"
        for share, period, _, rows in tripped[:MOST_NAMED]
    ]
    if not descriptions:
        return []
    more = f"; and {len(tripped) - MOST_NAMED} more partitions" if len(tripped) > MOST_NAMED else ""
    return [
        f"{'; '.join(descriptions)}{more}; more than max_quarantine_share {params.max_quarantine_share:.2%} "
        f"(up to {params.quarantine_floor_rows} rows a partition may be lost); look at the source"
    ]


def _noun(periods: Sequence[Period]) -> str:
    return "periods" if isinstance(periods[0], datetime) else "days"


def _on(period: Period | None) -> str:
    return f" on {period}" if period else ""


def _reasons(quarantine: Quarantine, period: Period | None) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in list(quarantine.reasons(period).items())[:MOST_NAMED])


def stops(result: Result) -> bool:
    """A critical failure, or an expectation of any severity that could not be evaluated."""
    return result.error is not None or (not result.success and result.check.severity is Severity.CRITICAL)


def is_warning(result: Result) -> bool:
    return result.check.severity is Severity.WARNING


def failure(result: Result) -> str:
    """The message about a failed expectation: its arguments and what was observed."""
    title = shortened(result.check.title)
    if result.error is not None:
        return f"{title} could not be evaluated: {shortened(' '.join(result.error.split()))}"
    observed = {
        n: shortened(v)
        for n, v in result.observed.items()
        if n in ("observed_value", "unexpected_count", "element_count")
    }
    return f"{title} failed ({result.check.reason}); observed {observed or 'nothing'}"


def shortened(value: Any) -> Any:
    """A value with long text shortened, so that one bad cell cannot bloat a message or a page."""
    if isinstance(value, str):
        return value if len(value) <= LONG else f"{value[:LONG]}... ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {name: shortened(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(item) for item in value]
    return value


def finite(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become None, unknown types text, and long text is shortened."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [finite(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    return shortened(value) if value is None or isinstance(value, str | int) else str(value)
