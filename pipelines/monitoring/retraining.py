"""Whether a monitored model should be retrained. Drift alone is no reason: it also comes with the seasons."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pipelines.artifacts.summary import Summary
from pipelines.verdict import Finding, Gate, Verdict


class Retraining(StrEnum):
    RETRAIN = "RETRAIN"
    KEEP = "KEEP"
    HOLD = "HOLD"


def decide(summary: Summary, gates: Sequence[Gate], min_labelled: int) -> tuple[Retraining, list[str]]:
    """The verdict on a summary, with reasons.

    HOLD where too few rows are labelled; else RETRAIN where a gate rejects; else HOLD where a gate's metric is missing
    or there is no gate; else KEEP.
    """
    version, n_labelled = summary.model_version, summary.n_labelled
    if n_labelled < min_labelled:
        return Retraining.HOLD, [
            f"There are only {n_labelled} matured labels in the window and min_labelled asks for {min_labelled}, so "
            f"version {version} cannot be judged yet; run again with a later as_of or a longer window.",
            drift_context(summary),
        ]
    findings = [gate.check(summary.tracked) for gate in gates]
    rejections = [finding for finding in findings if finding.verdict is Verdict.REJECT]
    holds = [finding for finding in findings if finding.verdict is Verdict.HOLD]
    if rejections:
        verdict = Retraining.RETRAIN
        reasons = [f"Version {version} should be retrained: {f.reason}, over {n_labelled} labels." for f in rejections]
    elif holds or not findings:
        verdict = Retraining.HOLD
        reasons = []
    else:
        verdict = Retraining.KEEP
        reasons = [f"Version {version} can stay: {f.reason}, over {n_labelled} labels." for f in findings]
    reasons += [unknown(finding) for finding in holds]
    if not findings:
        reasons.append("No gate is given; name at least one in monitoring.retrain_when_failing.")
    return verdict, [*reasons, drift_context(summary)]


def unknown(finding: Finding) -> str:
    return f"A gate cannot be checked: {finding.reason}; look at the window's labels and scores and report it again."


def drift_context(summary: Summary) -> str:
    """A sentence about drift for the reader; drift has no influence on the verdict."""
    share, columns, unmeasured_columns = summary.drift_share, summary.drifted_columns, list(summary.unmeasured)
    if share is None:
        return "Drift was not measured; it has no influence on the verdict."
    drifted_names = f" ({_first(columns)})" if columns else ""
    unmeasured_names = f" ({_first(unmeasured_columns)} could not be measured)" if unmeasured_columns else ""
    text = f"{share:.0%} of the model inputs drifted{drifted_names}{unmeasured_names}"
    return f"{text}; drift alone never triggers retraining."


def _first(columns: Sequence[str]) -> str:
    return f"{', '.join(columns[:5])}{' and others' if len(columns) > 5 else ''}"
