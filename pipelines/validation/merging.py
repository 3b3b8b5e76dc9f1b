"""Merging the results of an expectation over chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.validation.masks import mostly_good
from pipelines.validation.suite import Result

COUNTS = ("element_count", "missing_count", "unexpected_count")
SAMPLE = 20


def merge(parts: Sequence[Result]) -> Result:
    """The result over all chunks.

    Counts of rows are added, and `mostly` is judged on the sums, so that the result does not depend on the chunks.
    Other figures (a maximum, a mean) are judged on each chunk of whole days: a failure in any is a failure. An error
    in any chunk is an error.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    error = next((part.error for part in parts if part.error is not None), None)
    if error is not None:
        return Result(first.check, False, error, {})
    sample = tuple(value for part in parts for value in part.sample)[:SAMPLE]
    if all(part.observed.get("unexpected_count") is not None for part in parts):
        observed = _sum_counts([part.observed for part in parts])
        rows = observed["element_count"] - observed.get("missing_count", 0)
        bad = observed["unexpected_count"]
        percent = 100 * bad / rows if rows else 0.0
        success = mostly_good(rows, bad, first.check.kwargs.get("mostly"))
        return Result(first.check, success, None, {**observed, "unexpected_percent": percent}, sample)
    failures = [part for part in parts if not part.success]
    values = [part.observed.get("observed_value") for part in failures or parts]
    observed = {"observed_value": values[0] if len(values) == 1 else values, "chunks": len(parts)}
    return Result(first.check, not failures, None, observed, sample)


def _sum_counts(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: sum(part[name] for part in parts) for name in COUNTS if all(name in part for part in parts)}
