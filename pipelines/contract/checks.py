"""All checks of the contract, by name, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.contract.examples import early_positives, examples, labels
from pipelines.contract.features import alone, features_columns, knowledge, live
from pipelines.contract.outcomes import outcomes
from pipelines.contract.report import CheckReport, Skipped
from pipelines.contract.requests import requests
from pipelines.contract.subject import CheckedUseCase

CHECKS: Mapping[str, Callable[[CheckedUseCase], CheckReport]] = {
    "features-columns": features_columns,
    "knowledge": knowledge,
    "alone": alone,
    "labels": labels,
    "early-positives": early_positives,
    "outcomes": outcomes,
    "requests": requests,
    "examples": examples,
    "live": live,
}


@dataclass(frozen=True)
class CheckResult:
    """The answer of one check.

    Attributes:
        check: the name of the check.
        means: what the check verifies, in one sentence.
        skipped: why it could not run, and what to declare or give; None where it ran.
    """

    check: str
    means: str
    findings: list[str]
    notes: list[str]
    skipped: str | None = None

    @property
    def mark(self) -> str:
        """ok, no or -."""
        return "-" if self.skipped is not None else "no" if self.findings else "ok"


def ask(name: str, subject: CheckedUseCase) -> CheckResult:
    """Run one check. Any error raised by the use case's own code is a finding."""
    means = (CHECKS[name].__doc__ or "").partition("\n")[0]
    try:
        report = CHECKS[name](subject)
    except Skipped as why:
        return CheckResult(name, means, [], [], str(why))
    except Exception as error:
        return CheckResult(name, means, [f"it raises {type(error).__name__}: {error}"], [])
    return CheckResult(name, means, report.findings, report.notes)
