"""One result for an expectation that was evaluated a chunk at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.validation.masks import mostly_good
from pipelines.validation.suite import Result

COUNTS = ("element_count", "missing_count", "unexpected_count")
SAMPLE = 20


def merged(parts: Sequence[Result]) -> Result:
    """The result over all chunks.

    Where rows were counted, counts are added and `mostly` is judged on the sums, so that it does not matter how the
    rows were cut. Anything else (a maximum, a mean) is judged on each chunk of whole days: a failure in any is a
    failure. One chunk that could not be evaluated makes an error of the whole.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    error = next((part.error for part in parts if part.error is not None), None)
    if error is not None:
        return Result(first.check, False, error, {})
    sample = tuple(value for part in parts for value in part.sample)[:SAMPLE]
    if all(part.observed.get("unexpected_count") is not None for part in parts):
        observed = _added([part.observed for part in parts])
        counted = observed["element_count"] - observed.get("missing_count", 0)
        bad = observed["unexpected_count"]
        percent = 100 * bad / counted if counted else 0.0
        success = mostly_good(counted, bad, first.check.kwargs.get("mostly"))
        return Result(first.check, success, None, {**observed, "unexpected_percent": percent}, sample)
    failed = [part for part in parts if not part.success]
    seen = [part.observed.get("observed_value") for part in failed or parts]
    observed = {"observed_value": seen[0] if len(seen) == 1 else seen, "chunks": len(parts)}
    return Result(first.check, not failed, None, observed, sample)


def _added(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: sum(part[name] for part in parts) for name in COUNTS if all(name in part for part in parts)}
