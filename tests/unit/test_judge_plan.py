"""The expected duration of a rollout: it agrees with simulations of the judge's evidence, and is explained plainly."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.judge_claims import first, paths
from benchmarks.judge_rules import DAYS, rules
from pipelines.judge.betting import Limits, Scatter, bets, log_e_above
from pipelines.judge.plan import Pair, Plan, as_markdown, blocks_needed, long_run_ratio, oracle, plan

EVIDENCE = math.log(20)
LOSS = 0.155


def scatter_of(sd: float, blocks: int = 60) -> Scatter:
    return Scatter(blocks, sd, 2.5 * sd)


def pair(sd: float, long_run: float = 1.0, loss: float = LOSS) -> Pair:
    return Pair(scatter_of(sd), long_run, loss, 1.0)


def planned(sd: float, long_run: float = 1.0, blocks_per_day: float = 1.0, **changes: float) -> Plan:
    return plan(pair(sd, long_run), rules(DAYS, **changes), 60 * blocks_per_day, blocks_per_day)


@pytest.mark.parametrize("evidence", [EVIDENCE, EVIDENCE - math.log(0.4)], ids=["promotion", "rollback"])
@pytest.mark.parametrize(
    ("gap", "before", "horizon"),
    [(gap, 60, 400) for gap in (0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)]
    + [(gap, 30, 60) for gap in (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)],
)
def test_the_median_simulated_rollout_ends_about_when_planned(
    gap: float, before: int, horizon: float, evidence: float
) -> None:
    scatter = scatter_of(1.0, before)
    limits = Limits(horizon)
    expected = blocks_needed(gap, scatter, evidence, limits)
    looks = np.arange(1, math.ceil(1.5 * expected) + 10)
    differences = np.random.default_rng(2013).normal(gap, 1.0, (400, len(looks)))
    simulated = first(paths(differences, 0.0, looks, scatter, limits), evidence, looks)
    assert float(np.median(simulated)) == pytest.approx(expected, abs=0.3 * expected + 2)
    assert (simulated <= expected).mean() > 0.45


@pytest.mark.parametrize("sd", [0.0, 0.001, 0.01])
def test_a_wider_gap_never_needs_more_blocks(sd: float) -> None:
    gaps, limits = np.linspace(0.0005, 0.05, 100), Limits(60, 0.003, 1.0)
    needed = [blocks_needed(gap, scatter_of(sd), EVIDENCE, limits) for gap in gaps]
    assert all(later <= earlier for earlier, later in pairwise(needed))
    assert needed[0] > needed[-1] and math.isfinite(needed[-1]) and needed[-1] % 1 == 0


def test_stronger_evidence_and_a_wider_scatter_need_more_blocks() -> None:
    base = blocks_needed(0.01, scatter_of(0.01), EVIDENCE, Limits(60, 0.0, 1.0))
    assert blocks_needed(0.01, scatter_of(0.01), EVIDENCE + 1, Limits(60, 0.0, 1.0)) > base
    assert blocks_needed(0.01, scatter_of(0.02), EVIDENCE, Limits(60, 0.0, 1.0)) > base


@pytest.mark.parametrize("gap", [0.0, -0.01, 0.0001, math.nan])
def test_no_end_is_expected_where_no_bet_grows(gap: float) -> None:
    assert blocks_needed(gap, scatter_of(0.01), EVIDENCE, Limits(60, 0.003, 1.0)) == math.inf


def test_a_pair_without_scatter_needs_as_many_blocks_as_its_bets() -> None:
    scatter, gap = scatter_of(0.0), 0.02 * LOSS
    assert blocks_needed(gap, scatter, EVIDENCE, Limits(60, 0.0, 1.0)) == math.inf  # no scale to size a bet by
    needed = blocks_needed(gap, scatter, EVIDENCE, Limits(60, gap, 1.0))
    placed = bets((), scatter, Limits(60, gap, 1.0))
    evidence = [log_e_above(np.zeros(blocks), -gap, placed) for blocks in range(20)]
    assert needed == next(blocks for blocks, log_e in enumerate(evidence) if log_e >= EVIDENCE)


def test_the_loss_of_all_capital_counts_and_stays_finite() -> None:
    wild = Scatter(60, 1.0, 1.0)
    needed, with_room = (blocks_needed(0.5, wild, EVIDENCE, Limits(60, widest=widest)) for widest in (1.0, 3.0))
    assert math.isfinite(needed) and needed > with_room  # the reach is one standard deviation


def test_the_oracle_knows_the_variance() -> None:
    assert oracle(0.5, 1.0, 1.0) == 24
    assert oracle(0.5, 1.0, 2.0) == oracle(0.25, 0.5, 2.0) == 48
    assert oracle(0.0, 1.0, 1.0) == oracle(-0.5, 1.0, 1.0) == math.inf


def test_the_long_run_ratio_measures_dependence_between_blocks() -> None:
    noise = np.random.default_rng(7).normal(size=20_001)
    assert long_run_ratio(noise) == pytest.approx(1.0, abs=0.1)
    assert long_run_ratio(noise[1:] + noise[:-1]) == pytest.approx(1 + 2 * 0.5 * 7 / 8, abs=0.1)
    assert 0 < long_run_ratio(np.tile([1.0, -1.0], 50)) < 0.1
    assert long_run_ratio([*noise[:50], math.nan]) == long_run_ratio(noise[:50]) != 1.0
    assert long_run_ratio(noise[:13]) == long_run_ratio(np.full(50, 0.1)) == long_run_ratio([]) == 1.0


def test_a_plan_has_the_margin_and_minimum_of_the_rules() -> None:
    seen = planned(0.001, margin_share=0.03, min_blocks=7)
    assert seen.margins == (0.01, 0.02, 0.03, 0.05, 0.10)
    assert seen.equal == seen.rows[2].promotion[2] and seen.equal.blocks == 7 > seen.equal.oracle
    assert all(wait.blocks >= 7 for row in seen.rows for wait in row.promotion)
    assert seen.rows[-1].rollback.blocks < 7  # the minimum applies to promotions only


def test_neither_promotion_nor_rollback_is_expected_against_the_truth() -> None:
    for row in planned(0.001).rows:
        for margin, wait in zip((0.01, 0.02, 0.05, 0.10), row.promotion, strict=True):
            assert math.isinf(wait.blocks) == math.isinf(wait.oracle) == (row.rise >= margin)
        assert math.isinf(row.rollback.blocks) == (row.rise <= 0)


def test_no_margin_or_limit_is_advised_against_a_champion_without_loss() -> None:
    seen = plan(pair(0.01, loss=0.0), rules(DAYS), 60)
    assert not seen.ends_within(1e9) and seen.tightest_margin is None and seen.shortest_limit is None
    assert seen.advice() == (
        "Equal models need more than 10 years at a margin of 2 %, more than the limit of 60 days: the rollout would "
        "end inconclusive. No margin or limit would do."
    )


def test_the_advice_says_when_equal_models_are_promoted() -> None:
    seen = planned(0.0105, 1.3, margin_share=0.05)
    assert seen.ends_within(60) and seen.ends_within(23) and not seen.ends_within(22)
    assert seen.advice() == (
        "Equal models are to be promoted after about 23 blocks at a margin of 5 % (an oracle that knows the variance "
        "and looks once: 15); the limit is 60 days."
    )


def test_the_advice_says_what_to_change() -> None:
    seen = planned(0.0105)
    assert not seen.ends_within(60)
    assert seen.advice() == (
        "Equal models need about 86 blocks at a margin of 2 %, more than the limit of 60 days: the rollout would end "
        "inconclusive. A margin of 2.5 % or a limit of 86 days would do."
    )


def test_the_advised_change_suffices_and_a_smaller_one_does_not() -> None:
    for margin, ends in ((0.025, True), (0.024, False)):
        assert planned(0.0105, margin_share=margin).ends_within(60) is ends
    for days, ends in ((86, True), (85, False)):
        longer = plan(pair(0.0105), rules(DAYS, max_days=days), days)
        assert longer.ends_within(days) is ends


def test_a_minimum_beyond_the_limit_leaves_only_a_longer_one() -> None:
    advice = planned(0.001, min_blocks=90).advice()
    assert advice.startswith("Equal models need about 90 blocks at") and advice.endswith(
        ". A limit of 90 days would do."
    )


def test_days_follow_from_the_blocks_a_day() -> None:
    seen = planned(0.05, blocks_per_day=24)
    assert seen.advice() == (
        "Equal models need about 2208 blocks (24 a day) at a margin of 2 %, more than the limit of 60 days: the "
        "rollout would end inconclusive. A margin of 2.5 % or a limit of 92 days would do."
    )
    assert not seen.ends_within(seen.equal.blocks / 24 - 0.1) and seen.ends_within(seen.equal.blocks / 24)


def test_the_table_shows_days_and_those_of_the_oracle() -> None:
    assert as_markdown(planned(0.0105, 1.3)) == (
        "| challenger | promotion at 1 % | promotion at 2 % | promotion at 5 % | promotion at 10 % | rollback |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| better by 5 % | 19 (10) | 16 (8) | 11 (4) | 8 (2) | - |\n"
        "| better by 2 % | 43 (40) | 30 (23) | 16 (8) | 10 (3) | - |\n"
        "| equal | 353 (358) | 86 (90) | 23 (15) | 11 (4) | - |\n"
        "| worse by 2 % | - | - | 43 (40) | 14 (6) | 96 (90) |\n"
        "| worse by 5 % | - | - | - | 23 (15) | 25 (15) |\n"
        "| worse by 10 % | - | - | - | - | 12 (4) |\n"
    )


def test_the_table_shows_no_absurd_number() -> None:
    slow = planned(0.0105, min_blocks=3651, blocks_per_day=1.0)
    assert "| equal | > 10 years (276) | > 10 years (69) |" in as_markdown(slow)


def test_a_plan_is_json_with_null_for_never() -> None:
    document = json.loads(json.dumps(planned(0.0105).as_json(), allow_nan=False))
    assert document["rows"][0]["rise"] == -0.05 and document["rows"][0]["rollback"] == {"blocks": None, "oracle": None}
    assert document["margin"] == 0.02 and document["tightest_margin"] == 0.025 and document["equal"]["blocks"] == 86
