"""Verdicts on the parity of online and offline values: they match, differ, or cannot be compared yet."""

from __future__ import annotations

import pytest

from pipelines.features.check_parity import Comparison
from pipelines.verdict import Verdict

AHEAD = "the online store is ahead"


@pytest.mark.parametrize(
    ("comparison", "verdict", "reasons"),
    [
        (Comparison(3, (), None), Verdict.PASS, ("3 values agree online and offline",)),
        (Comparison(3, (), AHEAD), Verdict.HOLD, (f"3 values agree online and offline; {AHEAD}",)),
        (Comparison(0, (), AHEAD), Verdict.HOLD, (f"0 values agree online and offline; {AHEAD}",)),
        (Comparison(3, ("a", "b"), None), Verdict.REJECT, ("a", "b")),
        (Comparison(3, ("a",), AHEAD), Verdict.REJECT, ("a",)),
    ],
)
def test_only_matching_values_pass(comparison: Comparison, verdict: Verdict, reasons: tuple[str, ...]) -> None:
    assert (comparison.verdict, comparison.reasons) == (verdict, reasons)


def test_values_that_could_not_be_compared_do_not_pass() -> None:
    comparison = Comparison(0, (), None)
    assert comparison.verdict is Verdict.REJECT and "build and materialize" in comparison.reasons[0]


def test_a_decision_quotes_the_first_differences() -> None:
    assert Comparison(30, tuple(map(str, range(30))), None).reasons == tuple(map(str, range(20)))
