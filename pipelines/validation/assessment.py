"""What a table's results mean: which rows to set apart, and whether the chain may go on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from pipelines.validation.masks import bad_rows
from pipelines.validation.suite import Check, Result, Severity, evaluate


@dataclass(frozen=True)
class Assessment:
    """The judgement on one table.

    Attributes:
        rows: rows looked at.
        codes: one a row: reason codes joined by commas, or empty where the row is clean.
        rejections: why the chain must stop; empty where it may go on.
        warnings: failures that stop nothing.
    """

    table: str
    rows: int
    results: tuple[Result, ...]
    codes: tuple[str, ...]
    rejections: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def quarantined(self) -> dict[str, int]:
        """Rows by reason; a row with two reasons counts under both."""
        counts = Counter(code for codes in self.codes if codes for code in codes.split(","))
        return dict(sorted(counts.items()))

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "quarantined_rows": sum(map(bool, self.codes)),
            "quarantined": self.quarantined,
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
    frame: pd.DataFrame,
    checks: Sequence[Check],
    max_quarantine_share: float,
    empty_days: Sequence[date] = (),
    required: bool = True,
) -> Assessment:
    """Judge one table.

    Args:
        empty_days: days of the window on which it has no row: a source that was cut short, if the table is required.
        frame: every row of the window.
        checks: its declared expectations; a table without any is rejected.
        max_quarantine_share: a larger share of bad rows is taken for a broken source, and rejected.
    """
    clean = ("",) * len(frame)
    if not checks:
        return Assessment(table, len(frame), (), clean, (f"{table} has no expectations; declare them",), ())
    gap = f"{table} has no rows on {len(empty_days)} days, the first {min(empty_days)}" if empty_days else ""
    if frame.empty:
        gap = gap or f"{table} has no rows"
    gaps = (f"{gap}; look at its source and ingest them again",) if gap else ()
    if frame.empty:
        return Assessment(table, 0, (), (), gaps if required else (), () if required else gaps)
    results = evaluate(frame, checks)
    rejections = [*(gaps if required else ()), *(f"{table}: {failure(r)}" for r in results if stops(r))]
    warned = [*(() if required else gaps)]
    warned += [f"{table}: {failure(r)}" for r in results if not r.success and not stops(r) and is_warning(r)]
    codes = clean
    for result in results:
        if result.check.severity is not Severity.QUARANTINE or result.success or result.error is not None:
            continue
        bad = bad_rows(frame, result.check.type, result.check.kwargs)
        expected = result.observed.get("unexpected_count")
        if int(bad.sum()) != expected:
            rejections.append(
                f"{table}: {result.check.title}: the quarantine mask finds {int(bad.sum())} bad rows and "
                f"Great Expectations {expected}; they must agree, so correct the mask"
            )
            continue
        codes = add_code(codes, bad, result.check.reason)
    share = sum(map(bool, codes)) / len(frame)
    if share > max_quarantine_share:
        rejections.append(
            f"{table}: {share:.2%} of {len(frame)} rows would be quarantined, more than "
            f"max_quarantine_share {max_quarantine_share:.2%}; look at its source"
        )
    return Assessment(table, len(frame), tuple(results), codes, tuple(rejections), tuple(warned))


def stops(result: Result) -> bool:
    """A critical failure, or an expectation of any severity that could not be evaluated."""
    return result.error is not None or (not result.success and result.check.severity is Severity.CRITICAL)


def is_warning(result: Result) -> bool:
    return result.check.severity is Severity.WARNING


def failure(result: Result) -> str:
    """One failed expectation: what was asked and what was seen."""
    if result.error is not None:
        return f"{result.check.title} could not be evaluated: {' '.join(result.error.split())}"
    seen = {n: v for n, v in result.observed.items() if n in ("observed_value", "unexpected_count", "element_count")}
    return f"{result.check.title} failed ({result.check.reason}); observed {seen or 'nothing'}"


def add_code(codes: Sequence[str], bad: np.ndarray[Any, np.dtype[np.bool_]], reason: str) -> tuple[str, ...]:
    """The codes with `reason` added where `bad`, once a row."""
    return tuple(
        code if not is_bad or reason in code.split(",") else f"{code},{reason}" if code else reason
        for code, is_bad in zip(codes, bad, strict=True)
    )


def finite(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become None, unknown types text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [finite(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    return value if value is None or isinstance(value, str | int) else str(value)
