"""The candidates of the gate and the choice among them: pure functions over metrics and findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.json_text import JsonObject
from pipelines.verdict import TIMED, Finding, Gate, Verdict, overall

if TYPE_CHECKING:
    from pipelines.registration.champion import Comparison

RANKED_BY = "log_loss"


@dataclass(frozen=True)
class Candidate:
    """A model with its evaluation.

    Attributes:
        metrics: of the evaluation; None or absent where undefined.
        problems: why the evaluation does not count: its window is empty or another one, or its training set is not
            the model's.
    """

    family: str
    model_uri: str
    sha256: str
    evaluation_uri: str
    training_set_uri: str
    metrics: Mapping[str, float | None]
    problems: tuple[str, ...] = ()

    @property
    def ranked(self) -> bool:
        """Whether the metric by which candidates are compared is a number."""
        value = self.metrics.get(RANKED_BY)
        return value is not None and math.isfinite(value)


@dataclass(frozen=True)
class CandidateAssessment:
    """A candidate with the finding of every gate."""

    candidate: Candidate
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict of all findings; a candidate that cannot be ranked or has problems never passes."""
        verdict, sound = overall(self.findings), self.candidate.ranked and not self.candidate.problems
        return Verdict.HOLD if verdict is Verdict.PASS and not sound else verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the candidate does not pass; where it passes, the reason of every finding."""
        shortfalls = [*self.candidate.problems, *(f.reason for f in self.findings if f.verdict is not Verdict.PASS)]
        if not self.candidate.ranked:
            shortfalls.append(f"{RANKED_BY} is missing or not finite, so it cannot be compared with others")
        return tuple(f"{self.candidate.family}: {why}" for why in shortfalls or [f.reason for f in self.findings])

    def evidence(self) -> JsonObject:
        return {
            "family": self.candidate.family,
            "model_uri": self.candidate.model_uri,
            "sha256": self.candidate.sha256,
            "evaluation_uri": self.candidate.evaluation_uri,
            "metrics": {name: _finite(value) for name, value in self.candidate.metrics.items()},
            "problems": list(self.candidate.problems),
            "verdict": self.verdict.value,
            "findings": [finding.model_dump(mode="json", exclude=_timing_fields(finding)) for finding in self.findings],
        }

    @property
    def timings(self) -> dict[str, float | None]:
        """Measured times, which differ from run to run and so are no part of the evidence."""
        return {f.gate.metric: f.observed for f in self.findings if f.gate.metric in TIMED}


@dataclass(frozen=True)
class Conclusion:
    """The gate's conclusion over all candidates.

    Attributes:
        choice: the best candidate that passes the floors, with the findings against the champion; None if none passes.
        comparison: with the champion; None where there is no champion.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    assessments: tuple[CandidateAssessment, ...]
    choice: CandidateAssessment | None
    comparison: Comparison | None

    def evidence(self, champion_uri: str | None) -> JsonObject:
        return {
            "candidates": [one.evidence() for one in self.assessments],
            "chosen": self.choice.evidence() if self.choice else None,
            "champion": {"uri": champion_uri, **vars(self.comparison)} if self.comparison else None,
        }

    @property
    def timings(self) -> dict[str, dict[str, float | None]]:
        """Measured times by family."""
        return {one.candidate.family: one.timings for one in self.assessments if one.timings}


def _finite(value: float | None) -> float | None:
    """None where a metric is no number, as JSON and PostgreSQL have it."""
    return value if value is not None and math.isfinite(value) else None


def _timing_fields(finding: Finding) -> set[str]:
    return {"observed"} if finding.gate.metric in TIMED else set()


def check(candidate: Candidate, gates: Sequence[Gate], metrics: Mapping[str, float | None]) -> CandidateAssessment:
    return CandidateAssessment(candidate, tuple(gate.check(metrics) for gate in gates))


def best(assessments: Sequence[CandidateAssessment]) -> CandidateAssessment | None:
    """The passing candidate with the lowest log loss; None where none passes."""
    passing = [j for j in assessments if j.verdict is Verdict.PASS]
    return min(passing, key=lambda j: (j.candidate.metrics[RANKED_BY], j.candidate.family), default=None)


def none_passes(assessments: Sequence[CandidateAssessment]) -> Verdict:
    """The verdict where no candidate passes: REJECT if all are rejected, HOLD if one merely lacks evidence."""
    return Verdict.REJECT if all(j.verdict is Verdict.REJECT for j in assessments) else Verdict.HOLD
