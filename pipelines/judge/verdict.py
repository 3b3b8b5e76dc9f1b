"""The verdict of one look at a rollout.

The order of the rules is fixed and the first that applies decides: a challenger that is broken or proven worse is
rolled back at once, whatever is missing; none is promoted or advanced on evidence that is missing, stale or too late.
All thresholds come from `Rules`; the same evidence and rules give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.special import logsumexp

from pipelines.errors import InvalidInput
from pipelines.judge import eprocess
from pipelines.judge.evidence import Evidence
from pipelines.params.rollout import JudgeRules, Ramp

HOUR, DAY = 3600, 86400  # seconds


class JudgeAction(StrEnum):
    ROLLBACK = "ROLLBACK"
    HOLD = "HOLD"
    ADVANCE = "ADVANCE"
    PROMOTE = "PROMOTE"
    KEEP_CHAMPION = "KEEP_CHAMPION"


class Rules(JudgeRules):
    """`rollout.judge` of params.yaml, and the ramp."""

    stages: Ramp


class Judgement(BaseModel):
    """The judge's answer, with the evidence that decided.

    Attributes:
        explanation: the rule that decided, the evidence, and every further rule that applies, in order.
        rule: the rule that decided; `observed` and `bound` are its two sides (log E where the rule is a test).
        log_e: log E of every part of the evidence at this look.
        bounds: anytime bounds of the mean difference of blocks (clipped to clip_range), each at level 1 - alpha.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    action: JudgeAction
    rule: str
    observed: float | None
    bound: float | None
    log_e: dict[str, float]
    bounds: tuple[float, float]
    stage: int
    blocks: int
    rows: int
    next_step: str
    explanation: tuple[str, ...]


@dataclass(frozen=True)
class Ruling:
    action: JudgeAction
    rule: str
    next_step: str
    observed: float | None = None
    bound: float | None = None


def judge_evidence(evidence: Evidence, rules: Rules) -> Judgement:
    """Judge the evidence: ROLLBACK, HOLD, ADVANCE, PROMOTE or KEEP_CHAMPION; valid at any moment, however often."""
    if evidence.exposure.stage >= len(rules.stages):
        raise InvalidInput(f"stage {evidence.exposure.stage} is not one of the {len(rules.stages)} declared")
    log_e = log_evidence(evidence, rules)
    rulings = list(_rulings(evidence, rules, log_e))
    first = rulings[0]
    blocks = evidence.blocks
    finite = blocks.difference[np.isfinite(blocks.difference)]
    reach = rules.clip_range
    bounds = eprocess.difference_bounds(finite, rules.alpha, reach, rules.bets or eprocess.BETS)
    mean = f"{np.clip(finite, -reach, reach).mean():+.5f}" if len(finite) else "unknown"
    delta = rules.margin_share * evidence.champion_loss
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in log_e.items())
    explanation = (
        f"{first.action} by {first.rule}{_sides(first)}: {first.next_step}",
        f"mean difference of losses {mean} over {len(finite)} blocks of {int(blocks.rows.sum())} rows, surely between "
        f"{bounds[0]:+.5f} and {bounds[1]:+.5f}; up to {delta:+.5f} may be given up",
        f"log E: {parts}",
        *(f"else {ruling.action} by {ruling.rule}: {ruling.next_step}" for ruling in rulings[1:]),
    )
    return Judgement(
        action=first.action,
        rule=first.rule,
        observed=first.observed,
        bound=first.bound,
        log_e=log_e,
        bounds=bounds,
        stage=evidence.exposure.stage,
        blocks=len(blocks.ids),
        rows=int(blocks.rows.sum()),
        next_step=first.next_step,
        explanation=explanation,
    )


def log_evidence(evidence: Evidence, rules: Rules) -> dict[str, float]:
    """log E of every part: those against the challenger (H0 "no worse"), and those for it (H0 "not good enough").

    A gate that cannot be tested has log E = 0, with which it never passes.
    """
    difference = evidence.blocks.difference[np.isfinite(evidence.blocks.difference)]
    rows = evidence.differences[np.isfinite(evidence.differences)]
    reach = rules.clip_range
    against = {
        "quality": eprocess.log_e_above(difference, 0.0, rules.rollback_range or reach, rules.bets or eprocess.BETS),
        "catastrophe": eprocess.log_e_above(rows, rules.catastrophe_margin),
        "errors": eprocess.log_e_ratio(evidence.errors.share, evidence.errors.challenger),
        "slow": eprocess.log_e_ratio(evidence.slow.share, evidence.slow.challenger),
    }
    weights = rules.weights.model_dump()
    combination = logsumexp([against[part] for part in against], b=[weights[part] for part in against])
    delta = rules.margin_share * evidence.champion_loss
    return {
        **against,
        "combined": float(combination),
        "split": eprocess.log_e_split(
            ((stage.share, stage.challenger, stage.champion) for stage in evidence.split), rules.split_strength
        ),
        "not_inferior": _not_inferior(difference, delta, rules),
        "error_objective": eprocess.log_e_rate_below(evidence.failures, evidence.trials, rules.error_objective),
        "slow_margin": eprocess.log_e_ratio_below(evidence.slow.share, evidence.slow.challenger, rules.slow_margin),
    }


def _not_inferior(difference: NDArray[np.float64], delta: float, rules: Rules) -> float:
    if not 0 < delta < rules.clip_range:
        return 0.0
    bets = rules.promotion_bets or rules.bets or eprocess.BETS
    return eprocess.log_e_below(difference, delta, rules.clip_range, bets)


def _rulings(evidence: Evidence, rules: Rules, log_e: dict[str, float]) -> Iterator[Ruling]:
    """Every rule that applies, in order of precedence; there is always one."""
    exposure, last = evidence.exposure, len(rules.stages) - 1
    yield from _rollback(evidence, rules, log_e)
    limit = rules.max_days * DAY
    if exposure.elapsed > limit:  # before all further rules: neither time alone nor late evidence ever promotes
        yield Ruling(
            JudgeAction.KEEP_CHAMPION,
            "time_limit",
            "The time is up: keep the champion and end the rollout; the rules below say what was missing.",
            exposure.elapsed,
            limit,
        )
    yield from _holds(evidence, rules, log_e)
    missing = list(_exposure_missing(evidence, rules))
    yield from missing
    if exposure.stage < last:
        if not missing:
            share = rules.stages[exposure.stage + 1].share
            yield Ruling(JudgeAction.ADVANCE, "exposure", f"Give the challenger {share:.0%} of the traffic.")
        return
    failing = list(_gates(evidence, rules, log_e))
    yield from failing
    if not missing and not failing:
        next_step = "Every gate passes: promote, unless the champion has changed."
        yield Ruling(JudgeAction.PROMOTE, "gates", next_step, log_e["not_inferior"], -math.log(rules.alpha))


def _rollback(evidence: Evidence, rules: Rules, log_e: dict[str, float]) -> Iterator[Ruling]:
    for rule in ("nan_output", "out_of_range_output", "constant_output"):
        if getattr(evidence.flags, rule):
            yield Ruling(
                JudgeAction.ROLLBACK, rule, "Send all traffic to the champion and look at the challenger's graph."
            )
    if log_e["combined"] >= (bound := -math.log(rules.alpha)):
        weighted_evidence = {
            part: math.log(weight) + log_e[part] for part, weight in rules.weights.model_dump().items()
        }
        worst = max(weighted_evidence, key=lambda part: weighted_evidence[part])
        next_step = f"Send all traffic to the champion; most of the evidence is {worst}."
        yield Ruling(JudgeAction.ROLLBACK, "combined_evidence", next_step, log_e["combined"], bound)


def _holds(evidence: Evidence, rules: Rules, log_e: dict[str, float]) -> Iterator[Ruling]:
    if log_e["split"] >= (bound := -math.log(rules.split_alpha)):
        next_step = "Find where entities are lost between the split and the log; the comparison cannot be trusted."
        yield Ruling(JudgeAction.HOLD, "sample_ratio", next_step, log_e["split"], bound)
    if evidence.flags.misrouted:
        next_step = (
            "Find the server that answered with another version than the assigned one, which had not failed "
            "(`flightdeck explain` shows both for a prediction); the log keeps those rows, so end this rollout, fix "
            "the server, and start another."
        )
        yield Ruling(JudgeAction.HOLD, "misrouted", next_step)
    if evidence.unknown:
        next_step = f"{evidence.unknown} paired differences are not numbers: find the missing scores or labels."
        yield Ruling(JudgeAction.HOLD, "unknown_differences", next_step, float(evidence.unknown), 0.0)
    for rule, next_step in (
        ("missing_data", "Fill in the missing predictions or labels, and judge again."),
        ("stale_labels", "Find out why no labels arrive, and judge again."),
        ("stale_decision", "Another stage is in force: judge that one."),
        ("prediction_shift", "Let a person check how the scores differ before the rollout continues."),
    ):
        if getattr(evidence.flags, rule):
            yield Ruling(JudgeAction.HOLD, rule, next_step)


def _exposure_missing(evidence: Evidence, rules: Rules) -> Iterator[Ruling]:
    stage, exposure = rules.stages[evidence.exposure.stage], evidence.exposure
    pairs = int(evidence.blocks.rows.sum())
    for rule, observed, bound in (
        ("stage_seconds", exposure.seconds, stage.min_hours * HOUR),
        ("stage_requests", exposure.requests, stage.min_requests),
        ("stage_blocks", exposure.blocks, stage.min_blocks),
        ("stage_pairs", pairs, stage.min_pairs),
    ):
        if not observed >= bound:
            yield _wait(rule, observed, bound)


def _gates(evidence: Evidence, rules: Rules, log_e: dict[str, float]) -> Iterator[Ruling]:
    """The conditions for a promotion that are not met yet, each tested at alpha on its own."""
    blocks = evidence.blocks
    for rule, observed, bound in (
        ("min_pairs", int(blocks.rows.sum()), rules.min_pairs),
        ("min_positives", int(blocks.positives.sum()), rules.min_positives),
        ("min_blocks", len(blocks.ids), rules.min_blocks),
    ):
        if observed < bound:
            yield _wait(rule, observed, bound)
    for rule in ("not_inferior", "error_objective", "slow_margin"):
        if not log_e[rule] >= -math.log(rules.alpha):
            yield _wait(rule, log_e[rule], -math.log(rules.alpha))


def _sides(ruling: Ruling) -> str:
    return "" if ruling.observed is None else f" ({ruling.observed:.5g}, bound {ruling.bound:.5g})"


def _wait(rule: str, observed: float, bound: float) -> Ruling:
    next_step = f"Wait for more evidence: {rule} is {observed:g} and must be at least {bound:g}."
    return Ruling(JudgeAction.HOLD, rule, next_step, float(observed), float(bound))
