"""Candidates of a gate and the choice among them: pure functions over metrics and findings."""

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
        problems: why its evaluation may not count at all: an empty or foreign window, or a training set that is not
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
class Judged:
    """A candidate with what every gate saw."""

    candidate: Candidate
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Over the findings; a candidate that cannot be ranked, or whose evaluation does not count, never passes."""
        verdict, sound = overall(self.findings), self.candidate.ranked and not self.candidate.problems
        return Verdict.HOLD if verdict is Verdict.PASS and not sound else verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it does not pass, or everything that it passed."""
        failed = [*self.candidate.problems, *(f.reason for f in self.findings if f.verdict is not Verdict.PASS)]
        if not self.candidate.ranked:
            failed.append(f"{RANKED_BY} is missing or not finite, so it cannot be compared with others")
        return tuple(f"{self.candidate.family}: {why}" for why in failed or [f.reason for f in self.findings])

    def evidence(self) -> JsonObject:
        return {
            "family": self.candidate.family,
            "model_uri": self.candidate.model_uri,
            "sha256": self.candidate.sha256,
            "evaluation_uri": self.candidate.evaluation_uri,
            "metrics": dict(self.candidate.metrics),
            "problems": list(self.candidate.problems),
            "verdict": self.verdict.value,
            "findings": [finding.model_dump(mode="json", exclude=_untold(finding)) for finding in self.findings],
        }

    @property
    def measured(self) -> dict[str, float | None]:
        """What a stopwatch gave; no part of the evidence."""
        return {f.gate.metric: f.observed for f in self.findings if f.gate.metric in TIMED}


@dataclass(frozen=True)
class Judgement:
    """What the gate concludes over all candidates.

    Attributes:
        chosen: the best that passes the floors, with the findings against the champion; None where none passes.
        comparison: with the champion; None where there is none to compare with.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    judged: tuple[Judged, ...]
    chosen: Judged | None
    comparison: Comparison | None

    def evidence(self, champion_uri: str | None) -> JsonObject:
        return {
            "candidates": [one.evidence() for one in self.judged],
            "chosen": self.chosen.evidence() if self.chosen else None,
            "champion": {"uri": champion_uri, **vars(self.comparison)} if self.comparison else None,
        }

    @property
    def measured(self) -> dict[str, dict[str, float | None]]:
        """By family, what a stopwatch gave."""
        return {one.candidate.family: one.measured for one in self.judged if one.measured}


def _untold(finding: Finding) -> set[str]:
    return {"observed"} if finding.gate.metric in TIMED else set()


def check(candidate: Candidate, gates: Sequence[Gate], metrics: Mapping[str, float | None]) -> Judged:
    return Judged(candidate, tuple(gate.check(metrics) for gate in gates))


def best(judged: Sequence[Judged]) -> Judged | None:
    """Among those that pass, the one with the lowest log loss; None where none passes."""
    passing = [j for j in judged if j.verdict is Verdict.PASS]
    return min(passing, key=lambda j: (j.candidate.metrics[RANKED_BY], j.candidate.family), default=None)


def none_passes(judged: Sequence[Judged]) -> Verdict:
    """REJECT if every candidate is rejected; HOLD if one merely lacks evidence, since it might be good."""
    return Verdict.REJECT if all(j.verdict is Verdict.REJECT for j in judged) else Verdict.HOLD
