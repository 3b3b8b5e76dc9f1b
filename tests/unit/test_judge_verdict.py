"""The order of rules: a worse model is rolled back whatever else is wrong; nothing is promoted without evidence."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks.judge_claims import least_rate
from benchmarks.judge_rules import DAYS, ROWS, rules
from pipelines.errors import InvalidInput
from pipelines.judge import (
    Blocks,
    Events,
    Evidence,
    Exposure,
    Flags,
    JudgeAction,
    Judgement,
    Scatter,
    Segment,
    SplitCount,
    judge_evidence,
)

DAY = 86400.0
ON: dict[type, Any] = {bool: True, tuple: ("x in 90 % (training 2 %)",)}
LAST = Exposure(stage=4, requests=5_000, seconds=10 * DAY, blocks=10, elapsed=30 * DAY)
RULES = rules(DAYS)
SLICE = Scatter(31, 0.01, 0.02)


def blocks(difference: float = 0.0, count: int = 40, rows: int = 500, positives: int = 50) -> Blocks:
    ids = tuple(f"2013-{n:03d}" for n in range(count))
    return Blocks(ids, np.full(count, difference), np.full(count, rows), np.full(count, positives))


def events(challenger: int, champion: int, share: float = 0.5) -> Events:
    return Events(np.full(challenger + champion, share), np.arange(challenger + champion) < challenger)


def good(**changes: Any) -> Evidence:
    """Evidence that meets every condition of a promotion."""
    ready = Evidence(
        champion_loss=0.155,
        exposure=LAST,
        blocks=blocks(-0.001),
        differences=np.zeros(2_000),
        errors=events(20, 20),
        slow=events(400, 400),
        trials=5_000,
        failures=20,
        split=(SplitCount(0.5, 5_000, 5_000),),
    )
    return replace(ready, **changes)


def decided(evidence: Evidence, base: dict[str, Any] = DAYS, **changes: Any) -> tuple[str, str]:
    answer = judge_evidence(evidence, rules(base, **changes))
    return answer.action.value, answer.rule


BAD_LOOKS = {
    "nan_output": {"flags": Flags(nan_output=True)},
    "out_of_range_output": {"flags": Flags(out_of_range_output=True)},
    "constant_output": {"flags": Flags(constant_output=True)},
    "worse in quality": {"blocks": blocks(0.01)},
    "catastrophe": {"differences": np.full(60, 0.5)},
    "errors": {"errors": events(80, 20)},
    "slow": {"slow": events(400, 200)},
}
HOLDS: dict[str, dict[str, Any]] = {
    "sample_ratio": {"split": (SplitCount(0.5, 4_000, 5_000),)},
    "misrouted": {"flags": Flags(misrouted=True)},
    "missing_data": {"flags": Flags(missing_data=True)},
    "stale_labels": {"flags": Flags(stale_labels=True)},
    "stale_decision": {"flags": Flags(stale_decision=True)},
    "prediction_shift": {"flags": Flags(prediction_shift=True)},
    "missing_inputs": {"flags": Flags(missing_inputs=ON[tuple])},
    "segment": {"segments": (Segment("carrier=AA", blocks(0.05), SLICE), Segment("carrier=B6", blocks(0.0), SLICE))},
    "unknown_differences": {"differences": np.array([0.0, np.nan])},
}
SHORT = {
    "stage_pairs": {"blocks": blocks(-0.003, rows=20, positives=5)},
    "min_positives": {"blocks": blocks(-0.003, positives=0)},
    "min_blocks": {"blocks": blocks(-0.02, count=6)},
    "not_inferior": {"blocks": blocks(0.002, count=10)},
    "error_objective": {"failures": 100},
    "slow_margin": {"slow": events(30, 30)},
    "stage_seconds": {"exposure": replace(LAST, seconds=0)},
    "stage_requests": {"exposure": replace(LAST, requests=0)},
    "stage_blocks": {"exposure": replace(LAST, blocks=0)},
}


def test_the_verdict_is_to_promote_when_every_gate_passes_at_the_last_stage() -> None:
    assert decided(good()) == ("PROMOTE", "gates")


@pytest.mark.parametrize("bad", BAD_LOOKS.values(), ids=BAD_LOOKS)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("hold", [{}, *HOLDS.values()], ids=["", *HOLDS])
def test_nothing_delays_a_rollback(bad: dict[str, Any], late: bool, hold: dict[str, Any]) -> None:
    exposure = replace(LAST, stage=0, requests=0, seconds=0, elapsed=99 * DAY if late else 0)
    flags = Flags(
        **{**vars(hold.get("flags", Flags())), **{k: v for k, v in vars(bad.get("flags", Flags())).items() if v}}
    )
    assert decided(good(**{**hold, **bad, "exposure": exposure, "flags": flags}))[0] == "ROLLBACK"  # fmt: skip


@pytest.mark.parametrize(("rule", "hold"), HOLDS.items(), ids=HOLDS)
@pytest.mark.parametrize("stage", [0, 4])
def test_untrustworthy_evidence_holds_before_any_advance_or_promotion(
    rule: str, hold: dict[str, Any], stage: int
) -> None:
    assert decided(good(**hold, exposure=replace(LAST, stage=stage))) == ("HOLD", rule)


@pytest.mark.parametrize(("rule", "short"), SHORT.items(), ids=SHORT)
def test_a_gate_without_enough_evidence_holds_and_says_what_is_missing(rule: str, short: dict[str, Any]) -> None:
    answer = judge_evidence(good(**short), RULES)
    assert (answer.action, answer.rule) == (JudgeAction.HOLD, rule)
    assert answer.observed is not None and answer.bound is not None and answer.observed < answer.bound
    assert rule in answer.next_step


@pytest.mark.parametrize("stage", range(4))
def test_a_stage_with_enough_exposure_advances_and_never_skips_to_promotion(stage: int) -> None:
    answer = judge_evidence(good(exposure=replace(LAST, stage=stage)), RULES)
    assert answer.action is JudgeAction.ADVANCE and f"{RULES.stages[stage + 1].share:.0%}" in answer.next_step


@pytest.mark.parametrize("what", [{}, *HOLDS.values(), *SHORT.values()])
@pytest.mark.parametrize("stage", [0, 4])
def test_the_champion_is_kept_when_time_runs_out(what: dict[str, Any], stage: int) -> None:
    exposure = replace(what.get("exposure", LAST), stage=stage, elapsed=RULES.max_days * DAY + 1)
    assert decided(good(**{**what, "exposure": exposure})) == ("INCONCLUSIVE", "time_limit")


def test_no_evidence_at_all_holds() -> None:
    nothing = Evidence(0.155, LAST)
    answer = judge_evidence(nothing, RULES)
    assert answer.action is JudgeAction.HOLD and answer.blocks == answer.rows == 0
    assert list(answer.log_e.values()) == pytest.approx([0.0] * len(answer.log_e), abs=1e-12)


@pytest.mark.parametrize("loss", [math.nan, 0.0, -1.0, math.inf])
def test_nothing_is_promoted_without_a_testable_margin(loss: float) -> None:
    assert decided(good(champion_loss=loss)) == ("HOLD", "not_inferior")


@given(
    st.lists(st.floats(-1, 1) | st.just(math.nan), max_size=30),
    st.integers(0, 200),
    st.integers(0, 200),
    st.fixed_dictionaries({name: st.sampled_from([type(off)(), ON[type(off)]]) for name, off in vars(Flags()).items()}),
    st.integers(0, 4),
    st.floats(0, 100 * DAY),
)
def test_a_promotion_met_every_condition_and_a_rerun_gives_the_same_bytes(
    d: list[float], new: int, old: int, flags: dict[str, Any], stage: int, elapsed: float
) -> None:
    many = Blocks(tuple(range(len(d))), np.array(d, dtype=float), np.full(len(d), 100), np.full(len(d), 10))
    exposure = replace(LAST, stage=stage, elapsed=elapsed)
    evidence = good(blocks=many, errors=events(new, old), flags=Flags(**flags), exposure=exposure)
    answer, again = judge_evidence(evidence, RULES), judge_evidence(evidence, RULES)
    assert answer.model_dump_json() == again.model_dump_json()
    assert Judgement.model_validate_json(answer.model_dump_json()) == answer
    if answer.action is JudgeAction.PROMOTE:
        assert stage == 4 and elapsed <= RULES.max_days * DAY and not any(flags.values()) and not np.isnan(d).any()
        assert all(answer.log_e[gate] >= math.log(20) for gate in ("not_inferior", "error_objective", "slow_margin"))


def test_rows_in_another_order_give_the_same_bytes() -> None:
    d = np.random.default_rng(3).normal(0, 0.1, 500)
    one, other = (judge_evidence(good(differences=rows.copy()), RULES).model_dump_json() for rows in (d, d[::-1]))
    assert one == other


def test_a_worse_mean_is_rolled_back_where_only_half_of_the_blocks_are_worse() -> None:
    many = Blocks(tuple(range(60)), np.tile([-0.004, 0.012], 30), np.full(60, 500), np.full(60, 50))
    assert decided(good(blocks=many)) == ("ROLLBACK", "combined_evidence")


def test_each_part_alone_needs_its_share_of_alpha() -> None:
    answer = judge_evidence(good(errors=events(80, 20), blocks=Blocks(), slow=Events(), differences=np.zeros(0)), RULES)
    log_e = answer.log_e
    assert log_e["combined"] == pytest.approx(np.log(0.9 + 0.1 * math.exp(log_e["errors"])))
    assert answer.bound == pytest.approx(math.log(20)) and "errors" in answer.next_step


def test_no_number_of_blocks_is_required_where_rows_are_the_unit() -> None:
    n = 6_000
    each = Blocks(tuple(range(n)), np.tile([-0.03, 0.03], n // 2), np.ones(n, int), np.arange(n) % 4 == 0)
    assert decided(good(blocks=each), ROWS) == ("PROMOTE", "gates")


def test_a_judgement_is_json_and_explains_itself() -> None:
    judgement = json.loads(judge_evidence(good(**HOLDS["sample_ratio"]), RULES).model_dump_json())
    assert (
        judgement["action"] == "HOLD"
        and judgement["rule"] == "sample_ratio"
        and judgement["observed"] > judgement["bound"]
    )
    assert (
        len(judgement["explanation"]) >= 4
        and judgement["explanation"][-1].startswith("else PROMOTE")
        and judgement["next_step"].endswith(".")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unknown": 1}, "unknown"),
        ({"weights": {"quality": 0.6, "catastrophe": 0.2, "errors": 0.2, "slow": 0.2}}, "at most 1"),
        ({"stages": [DAYS["stages"][1], DAYS["stages"][0]]}, "larger than the one before"),
        ({"stages": []}, "stages"),
        ({"clip_range": 0.02}, "clip_range"),
        ({"segment_share": 0.0}, "segment_share"),
        ({"alpha": math.nan}, "alpha"),
        ({"max_days": math.inf}, "max_days"),
    ],
)
def test_inconsistent_rules_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        rules(DAYS, **change)


def test_a_stage_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InvalidInput, match="stage 5"):
        judge_evidence(good(exposure=replace(LAST, stage=5)), RULES)


def test_a_promotion_needs_the_minimum_of_pairs_whatever_the_stages_ask() -> None:
    assert decided(good(), min_pairs=20_001) == ("HOLD", "min_pairs")


def test_before_the_first_labels_of_the_rarer_class_quality_is_no_evidence() -> None:
    few, many = (good(blocks=blocks(0.02, positives=per_block)) for per_block in (0, 1))
    assert judge_evidence(few, RULES).log_e["quality"] == 0.0 < judge_evidence(many, RULES).log_e["quality"]
    all_positive = good(blocks=blocks(0.02, rows=50, positives=50))
    assert judge_evidence(all_positive, RULES).log_e["quality"] == 0.0
    assert judge_evidence(few, rules(DAYS, min_positives=0)).log_e["quality"] > 0, "labels need not be classes"


def test_a_later_change_of_the_margin_resizes_no_bet() -> None:
    seen = good(blocks=blocks(0.0005, count=20), foretold=Scatter(31, 1e-4, 2e-4), narrowest=0.003)
    one, other = (judge_evidence(seen, rules(DAYS, margin_share=share)) for share in (0.02, 0.2))
    assert one.log_e["quality"] == other.log_e["quality"] and one.log_e["not_inferior"] != other.log_e["not_inferior"]


def test_a_much_worse_slice_is_named_and_no_other() -> None:
    segments = [Segment(f"carrier={n}", blocks(0.0), SLICE) for n in range(9)]
    bad = Segment("carrier=OO", blocks(0.05), SLICE)
    answer = judge_evidence(good(segments=(*segments, bad)), RULES)
    assert (answer.action, answer.rule) == (JudgeAction.HOLD, "segment")
    assert answer.segments["carrier=OO"] > answer.bound > max(answer.segments[f"carrier={n}"] for n in range(9))  # type: ignore[operator]
    assert "carrier=OO" in answer.next_step and "carrier=3" not in answer.next_step
    assert answer.bound == pytest.approx(math.log(10 / RULES.segment_alpha))


def test_a_broken_slice_holds_in_spite_of_its_wide_scatter() -> None:
    d = np.random.default_rng(4).normal(0.11, 0.05, 25)  # its scatter is five times the foretold one
    many = Blocks(tuple(range(25)), d, np.full(25, 500), np.full(25, 50))
    assert judge_evidence(good(segments=(Segment("carrier=UA", many, SLICE),)), RULES).rule == "segment"


def test_slices_of_equal_models_rarely_hold_however_many_there_are() -> None:
    held, reps, slices, limit = 0, 120, 12, RULES.segment_share * 0.155
    for rep in range(reps):
        d = np.random.default_rng([9, rep]).normal(
            limit, 0.01, (slices, 60)
        )  # each slice is exactly at the allowed limit
        many = tuple(
            Segment(f"s={n}", Blocks(tuple(range(60)), row.copy(), np.full(60, 500), np.full(60, 50)), SLICE)
            for n, row in enumerate(d)
        )
        held += judge_evidence(good(segments=many), RULES).rule == "segment"
    assert least_rate(held / reps, reps) <= RULES.segment_alpha


def test_a_pair_with_wide_scatter_takes_longer_and_the_verdict_says_so() -> None:
    seen = {sd: judge_evidence(good(blocks=blocks(-0.001, count=14), foretold=Scatter(31, sd, 2 * sd)), RULES)
            for sd in (0.001, 0.01)}  # fmt: skip
    assert seen[0.001].log_e["not_inferior"] > 2 * seen[0.01].log_e["not_inferior"] > 0
    assert seen[0.01].scale == pytest.approx(Scatter(31, 0.01, 0.02).scale) and seen[0.01].since == 0
    unknown = judge_evidence(good(blocks=blocks(-0.001, count=14)), RULES)
    assert unknown.since == 5 and "the first 5 mainly set the scale" in unknown.explanation[1]


def test_a_verdict_out_of_time_names_the_margin_that_would_have_sufficed() -> None:
    late = replace(LAST, elapsed=RULES.max_days * DAY + 1)
    wide = Scatter(31, 0.01, 0.02)
    answer = judge_evidence(good(blocks=blocks(0.001, count=20), foretold=wide, exposure=late), RULES)
    assert answer.action is JudgeAction.INCONCLUSIVE and answer.bounds[1] is not None
    assert f"no more than {answer.bounds[1] / 0.155:.1%}" in answer.next_step and "rollout plan" in answer.next_step
    few = judge_evidence(good(blocks=blocks(0.001, count=2), exposure=late), RULES)
    assert "2 blocks are too few" in few.next_step
    within = judge_evidence(good(exposure=late, failures=100), RULES)
    assert "within its margin" in within.next_step
