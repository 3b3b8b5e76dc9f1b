"""What a table's results mean: which rows to set apart, and whether the chain may go on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from pipelines.json_text import JsonObject
from pipelines.validation.partitions import Partition
from pipelines.validation.quarantine import Quarantine
from pipelines.validation.suite import Result, Severity

if TYPE_CHECKING:
    from pipelines.params import Validation

NAMED = 3  # days or reasons that a message names
LONG = 200  # characters of a value in a message or report


@dataclass(frozen=True)
class Assessment:
    """The judgement on one table.

    Attributes:
        partitions: what was looked at.
        quarantine: the rows to set apart.
        released: bad rows that were released, and so are not.
        rejections: why the chain must stop; empty where it may go on.
        warnings: failures that stop nothing.
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
            "days": {(day.isoformat() if day else "all"): self.quarantine.reasons(day) for day in self.quarantine.days},
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


def assess(
    table: str,
    partitions: Sequence[Partition],
    results: Sequence[Result],
    quarantine: Quarantine,
    params: Validation,
    declared: int,
    required: bool = True,
    disagreements: Sequence[str] = (),
    released: int = 0,
) -> Assessment:
    """Judge one table.

    Args:
        results: one for each expectation that had rows to judge.
        quarantine: the rows that they find bad.
        declared: how many expectations it has; a table without any is rejected.
        required: whether a partition without rows is a source that was cut short, and rejected, or only told.
        disagreements: masks that do not find what Great Expectations counts.
    """
    rejections, warned = list(disagreements), list[str]()
    if not declared:
        rejections.append(f"{table} has no expectations; declare them")
    gap = gaps(table, partitions)
    (rejections if required else warned).extend(gap)
    rejections += [f"{table}: {failure(r)}" for r in results if stops(r)]
    rejections += breaker(table, partitions, quarantine, params, required)
    warned += [f"{table}: {failure(r)}" for r in results if not r.success and not stops(r) and is_warning(r)]
    told = (tuple(rejections), tuple(warned))
    return Assessment(table, tuple(partitions), tuple(results), quarantine, *told, released=released)


def gaps(table: str, partitions: Sequence[Partition]) -> list[str]:
    """What to say of partitions without rows."""
    empty = [partition.day for partition in partitions if not partition.rows]
    if not empty:
        return []
    days = [day for day in empty if day is not None]
    where = f" on {len(days)} days, the first {min(days)}" if days else ""
    return [f"{table} has no rows{where}; look at its source and ingest them again"]


def breaker(
    table: str, partitions: Sequence[Partition], quarantine: Quarantine, params: Validation, required: bool
) -> list[str]:
    """What to say of partitions of which too much is bad to be chance.

    One trips when it loses more than `quarantine_floor_rows` rows and more than `max_quarantine_share` of them, or all
    of its rows where the table is required.
    """
    tripped = []
    for partition in partitions:
        bad = len(quarantine.rows(partition.day))
        share = bad / partition.rows if partition.rows else 0.0
        over = bad > params.quarantine_floor_rows and share > params.max_quarantine_share
        if over or (required and bad and bad == partition.rows):
            tripped.append((share, partition.day, bad, partition.rows))
    tripped.sort(key=lambda one: (-one[0], str(one[1])))
    said = [
        f"{table}{_on(day)}: {share:.2%} of {rows} rows would be quarantined ({_reasons(quarantine, day)})"
        for share, day, _, rows in tripped[:NAMED]
    ]
    if not said:
        return []
    more = f"; and {len(tripped) - NAMED} more days" if len(tripped) > NAMED else ""
    return [
        f"{'; '.join(said)}{more}; more than max_quarantine_share {params.max_quarantine_share:.2%} "
        f"(up to {params.quarantine_floor_rows} rows a partition may be lost); look at the source"
    ]


def _on(day: date | None) -> str:
    return f" on {day}" if day else ""


def _reasons(quarantine: Quarantine, day: date | None) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in list(quarantine.reasons(day).items())[:NAMED])


def stops(result: Result) -> bool:
    """A critical failure, or an expectation of any severity that could not be evaluated."""
    return result.error is not None or (not result.success and result.check.severity is Severity.CRITICAL)


def is_warning(result: Result) -> bool:
    return result.check.severity is Severity.WARNING


def failure(result: Result) -> str:
    """One failed expectation: what was asked and what was seen."""
    title = shortened(result.check.title)
    if result.error is not None:
        return f"{title} could not be evaluated: {shortened(' '.join(result.error.split()))}"
    seen = {
        n: shortened(v)
        for n, v in result.observed.items()
        if n in ("observed_value", "unexpected_count", "element_count")
    }
    return f"{title} failed ({result.check.reason}); observed {seen or 'nothing'}"


def shortened(value: Any) -> Any:
    """A value with long text cut, so that one bad cell cannot swell a message or a page."""
    if isinstance(value, str):
        return value if len(value) <= LONG else f"{value[:LONG]}... ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {name: shortened(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(item) for item in value]
    return value


def finite(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become None, unknown types text, long text is cut."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [finite(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    return shortened(value) if value is None or isinstance(value, str | int) else str(value)
