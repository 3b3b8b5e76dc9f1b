"""Gates fail closed, and candidates are chosen only among those that pass."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.registration.candidates import Candidate, best, check, none_passes
from pipelines.verdict import Gate, Verdict, overall

AUC = Gate(metric="roc_auc", direction="at_least", threshold=0.6)
GAP = Gate(metric="gap", direction="at_most", threshold=0.1)
metrics = st.dictionaries(st.sampled_from(["roc_auc", "gap"]), st.none() | st.floats())


def candidate(family: str = "a", **found: float | None) -> Candidate:
    return Candidate(family, f"models/{family}", "sha", f"evaluations/{family}", "set", found)


@pytest.mark.parametrize(
    ("observed", "verdict"),
    [(0.6, "PASS"), (0.7, "PASS"), (0.59, "REJECT"), (None, "HOLD"), (math.nan, "HOLD"), (math.inf, "HOLD")],
)
def test_a_floor_passes_at_its_threshold_and_holds_without_a_number(observed: float | None, verdict: str) -> None:
    finding = AUC.check({"roc_auc": observed})
    assert finding.verdict == verdict and "roc_auc" in finding.reason and "0.6" in finding.reason


def test_an_absent_metric_holds() -> None:
    assert AUC.check({}).verdict is Verdict.HOLD


def test_an_empty_list_of_findings_does_not_pass() -> None:
    assert overall([]) is Verdict.HOLD


@given(metrics)
def test_a_verdict_passes_only_where_every_metric_is_a_number_on_the_right_side(
    values: dict[str, float | None],
) -> None:
    verdict = overall([AUC.check(values), GAP.check(values)])
    auc, gap = values.get("roc_auc"), values.get("gap")
    good = auc is not None and gap is not None and math.isfinite(auc) and math.isfinite(gap)
    assert (verdict is Verdict.PASS) == bool(good and auc >= 0.6 and gap <= 0.1)  # type: ignore[operator]


@given(st.permutations([("a", 0.4, 0.7), ("b", 0.3, 0.7), ("c", 0.1, 0.5), ("d", None, 0.9)]))
def test_the_choice_is_the_lowest_loss_among_those_that_pass_in_any_order(
    drawn: list[tuple[str, float | None, float]],
) -> None:
    judged = [check(c, [AUC], c.metrics) for c in (candidate(f, log_loss=loss, roc_auc=auc) for f, loss, auc in drawn)]
    chosen = best(judged)
    assert chosen is not None and chosen.candidate.family == "b"


@pytest.mark.parametrize("loss", [None, math.nan])
def test_a_candidate_that_cannot_be_ranked_holds_and_says_so(loss: float | None) -> None:
    one = candidate(log_loss=loss, roc_auc=0.9)
    judged = check(one, [AUC], one.metrics)
    assert judged.verdict is Verdict.HOLD and "log_loss" in " ".join(judged.reasons)
    assert best([judged]) is None


def test_where_none_passes_a_candidate_without_evidence_makes_the_verdict_hold() -> None:
    bad, unknown = candidate(log_loss=0.5, roc_auc=0.5), candidate("b", log_loss=0.5)
    rejected, held = (check(one, [AUC], one.metrics) for one in (bad, unknown))
    assert none_passes([rejected]) is Verdict.REJECT
    assert none_passes([rejected, held]) is Verdict.HOLD
