"""The report of a contract check."""

from __future__ import annotations

from dataclasses import dataclass, field


class Skipped(Exception):
    """A check cannot run for this use case on these data; the message says why, and what to declare or give."""


@dataclass
class CheckReport:
    """The answer of one check.

    Attributes:
        findings: what does not hold, a sentence each; empty where it holds.
        notes: further information, such as parts that were not checked.
    """

    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
