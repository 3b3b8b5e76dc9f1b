"""Gates as data, and verdicts as values with evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.metric_names import LATENCY

TIMED = frozenset({LATENCY})  # measured times differ from run to run, so that reasons do not quote them


class Verdict(StrEnum):
    PASS = "PASS"  # noqa: S105
    HOLD = "HOLD"
    REJECT = "REJECT"


class Gate(BaseModel):
    """One requirement: `metric` must be at least, or at most, `threshold`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    direction: Literal["at_least", "at_most"]
    threshold: Annotated[float, Field(allow_inf_nan=False)]

    def check(self, metrics: Mapping[str, float | None]) -> Finding:
        """PASS or REJECT where the metric is a finite number, HOLD where it is missing, NaN or infinite."""
        observed = metrics.get(self.metric)
        bound = f"{self.direction.replace('_', ' ')} {self.threshold:g}"
        if observed is None or not math.isfinite(observed):
            reason = f"{self.metric} is {'missing' if observed is None else observed}; it must be {bound}"
            return Finding(gate=self, observed=None, verdict=Verdict.HOLD, reason=reason)
        met = observed >= self.threshold if self.direction == "at_least" else observed <= self.threshold
        measured = "" if self.metric in TIMED else f" {observed:.4f},"
        reason = f"{self.metric} is{measured} {'as required' if met else 'but must be' if measured else 'not'} {bound}"
        return Finding(gate=self, observed=observed, verdict=Verdict.PASS if met else Verdict.REJECT, reason=reason)


class Finding(BaseModel):
    """The result of one gate."""

    model_config = ConfigDict(frozen=True)

    gate: Gate
    observed: float | None
    verdict: Verdict
    reason: str


def overall(findings: Iterable[Finding]) -> Verdict:
    """REJECT if any gate rejects, else HOLD if any holds or there is none, else PASS."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.REJECT in verdicts:
        return Verdict.REJECT
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.HOLD
