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
from pydantic import BaseModel, ConfigDict

from pipelines.errors import InvalidInput
from pipelines.judge import betting
from pipelines.judge.evidence import Blocks, Evidence
from pipelines.judge.quality import Rules, log_e_segment, log_evidence, margin, quality

HOUR, DAY = 3600, 86400  # seconds


class JudgeAction(StrEnum):
    ROLLBACK = "ROLLBACK"
    HOLD = "HOLD"
    ADVANCE = "ADVANCE"
    PROMOTE = "PROMOTE"
    INCONCLUSIVE = "INCONCLUSIVE"


class Judgement(BaseModel):
    """The judge's answer, with the evidence that decided.

    Attributes:
        explanation: the rule that decided, the evidence, and every further rule that applies, in order.
        rule: the rule that decided; `observed` and `bound` are its two sides (log E where the rule is a test).
        log_e: log E of every part of the evidence at this look.
        segments: log E of every slice, against "not badly worse".
        bounds: anytime bounds of the mean difference of blocks, each at level 1 - alpha; None while there is none.
        mean: of the blocks' differences; None where there are none.
        margin: delta, in units of the loss.
        scale, since: the scatter that bets are sized by (0 while it is not known), and the number of blocks before
            those bets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    action: JudgeAction
    rule: str
    observed: float | None
    bound: float | None
    log_e: dict[str, float]
    segments: dict[str, float]
    bounds: tuple[float | None, float | None]
    mean: float | None
    margin: float | None
    scale: float
    since: int
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
    """Judge the evidence: ROLLBACK, HOLD, ADVANCE, PROMOTE or INCONCLUSIVE; valid at any moment, however often."""
    if evidence.exposure.stage >= len(rules.stages):
        raise InvalidInput(f"stage {evidence.exposure.stage} is not one of the {len(rules.stages)} declared")
    difference, placed = quality(evidence.blocks, evidence.foretold, evidence, rules)
    log_e = log_evidence(evidence, rules)
    segments = {segment.name: log_e_segment(segment, evidence, rules) for segment in evidence.segments}
    rulings = list(_rulings(evidence, rules, log_e, segments))
    first = rulings[0]
    blocks, delta = evidence.blocks, margin(evidence, rules)
    low, high = betting.bounds(difference, rules.alpha, placed)
    mean = float(difference.mean()) if len(difference) else None
    compared = f"{len(difference)} blocks of {int(blocks.rows.sum())} rows"
    since, scale = (placed[-1].since, placed[-1].scale) if placed else (len(difference), 0.0)
    warm_up = f", of which the first {since} mainly set the scale of the bets" if since else ""
    explanation = (
        f"{first.action} by {first.rule}{_sides(first)}: {first.next_step}",
        f"mean difference of losses {_number(mean)} over {compared}{warm_up}, surely between {_number(low)} and "
        f"{_number(high)}; up to {_number(delta)} may be given up",
        f"log E: {', '.join(f'{name} {value:+.2f}' for name, value in log_e.items())}",
        *(f"else {ruling.action} by {ruling.rule}{_sides(ruling)}: {ruling.next_step}" for ruling in rulings[1:]),
    )
    return Judgement(
        action=first.action,
        rule=first.rule,
        observed=first.observed,
        bound=first.bound,
        log_e=log_e,
        segments=segments,
        bounds=(low, high),
        mean=mean,
        margin=delta or None,
        scale=scale,
        since=since,
        stage=evidence.exposure.stage,
        blocks=len(blocks.ids),
        rows=int(blocks.rows.sum()),
        next_step=first.next_step,
        explanation=explanation,
    )


def _rulings(evidence: Evidence, rules: Rules, log_e: dict[str, float], segments: dict[str, float]) -> Iterator[Ruling]:
    """Every rule that applies, in order of precedence; there is always one."""
    exposure, last = evidence.exposure, len(rules.stages) - 1
    yield from _rollback(evidence, rules, log_e)
    limit = rules.max_days * DAY
    if exposure.elapsed > limit:  # before all further rules: neither time alone nor late evidence ever promotes
        yield Ruling(JudgeAction.INCONCLUSIVE, "time_limit", shortfall(evidence, rules), exposure.elapsed, limit)
    yield from _holds(evidence, rules, log_e, segments)
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


def _holds(evidence: Evidence, rules: Rules, log_e: dict[str, float], segments: dict[str, float]) -> Iterator[Ruling]:
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
    yield from _worse_segments(evidence, rules, segments)
    if evidence.flags.missing_inputs:
        next_step = (
            f"Inputs are missing or stale more often than before: {'; '.join(evidence.flags.missing_inputs)}. "
            "Fill their views again: two starved models look equal."
        )
        yield Ruling(JudgeAction.HOLD, "missing_inputs", next_step)
    for rule, next_step in (
        ("missing_data", "Fill in the missing predictions or labels, and judge again."),
        ("stale_labels", "Find out why no labels arrive, and judge again."),
        ("stale_decision", "Another stage is in force: judge that one."),
        ("prediction_shift", "Let a person check how the scores differ before the rollout continues."),
    ):
        if getattr(evidence.flags, rule):
            yield Ruling(JudgeAction.HOLD, rule, next_step)


def _worse_segments(evidence: Evidence, rules: Rules, segments: dict[str, float]) -> Iterator[Ruling]:
    """A hold where slices are badly worse.

    Of S slices each is tested at segment_alpha / S, so over all of them the rate of false holds is at most
    segment_alpha.
    """
    bound = math.log(len(evidence.segments) / rules.segment_alpha) if evidence.segments else math.inf
    worse = [segment for segment in evidence.segments if segments[segment.name] >= bound]
    worse.sort(key=lambda segment: -segments[segment.name])
    if worse:
        names = ", ".join(
            f"{segment.name} ({_number(_mean(segment.blocks))} over {len(segment.blocks.ids)} blocks)"
            for segment in worse[:5]
        )
        next_step = (
            f"The challenger is worse by more than {rules.segment_share:.0%} of the champion's loss in {names}: look "
            "at its inputs there, and train again, or end the rollout."
        )
        yield Ruling(JudgeAction.HOLD, "segment", next_step, segments[worse[0].name], bound)


def _mean(blocks: Blocks) -> float | None:
    finite = blocks.difference[np.isfinite(blocks.difference)]
    return float(finite.mean()) if len(finite) else None


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.5f}"


def shortfall(evidence: Evidence, rules: Rules) -> str:
    """What a rollout that ends undecided lacked: the margin at which it would have passed, or blocks."""
    difference, placed = quality(evidence.blocks, evidence.foretold, evidence, rules)
    high = betting.bounds(difference, rules.alpha, placed)[1]
    start = "The time is up: the champion stays, and nothing is shown either way."
    if high is None or not margin(evidence, rules):
        return f"{start} {len(difference)} blocks are too few to say more; see the rules below."
    needed = high / evidence.champion_loss
    if needed <= rules.margin_share:
        return f"{start} The loss was within its margin; the rules below say what was missing."
    return (
        f"{start} So far it is sure only that the challenger adds no more than {needed:.1%} of the champion's loss, "
        f"where {rules.margin_share:.1%} may be given up: allow more days, or a wider margin, and look at "
        "`flightdeck rollout plan` first."
    )


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
