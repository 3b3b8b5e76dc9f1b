"""The parts of the evidence in log E: quality, in each slice too, catastrophe, errors, time and split."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pipelines.judge import betting, eprocess
from pipelines.judge.evidence import Blocks, Evidence, Segment
from pipelines.params.rollout import JudgeRules, Ramp

SINGLE_ROWS = 200  # that may show that their scale was too small, where rows are blocks
CATASTROPHE = 5.0  # scales of a pair that the mean difference of a catastrophe exceeds


class Rules(JudgeRules):
    """`rollout.judge` of params.yaml, and the ramp."""

    stages: Ramp


def log_evidence(evidence: Evidence, rules: Rules) -> dict[str, float]:
    """log E of every part: those against the challenger (H0 "no worse"), and those for it (H0 "not good enough").

    A gate that cannot be tested has log E = 0, with which it never passes.
    """
    difference, placed = quality(evidence.blocks, evidence.foretold, evidence, rules)
    rows = evidence.differences[np.isfinite(evidence.differences)]
    against = {
        "quality": betting.log_e_above(difference, 0.0, placed) if _telling(evidence, rules) else 0.0,
        "catastrophe": _catastrophe(rows, placed[-1].scale if placed else 0.0, evidence, rules),
        "errors": eprocess.log_e_ratio(evidence.errors.share, evidence.errors.challenger),
        "slow": eprocess.log_e_ratio(evidence.slow.share, evidence.slow.challenger),
    }
    weights = rules.weights.model_dump()
    combination = logsumexp([against[part] for part in against], b=[weights[part] for part in against])
    delta = margin(evidence, rules)
    return {
        **against,
        "combined": float(combination),
        "split": eprocess.log_e_split(
            ((stage.share, stage.challenger, stage.champion) for stage in evidence.split), rules.split_strength
        ),
        "not_inferior": betting.log_e_below(difference, delta, placed) if delta else 0.0,
        "error_objective": eprocess.log_e_rate_below(evidence.failures, evidence.trials, rules.error_objective),
        "slow_margin": eprocess.log_e_ratio_below(evidence.slow.share, evidence.slow.challenger, rules.slow_margin),
    }


def _telling(evidence: Evidence, rules: Rules) -> bool:
    """Whether there are labels enough of the rarer class: before, differences hardly scatter, and no scale is right."""
    positives = int(evidence.blocks.positives.sum())
    return min(positives, int(evidence.blocks.rows.sum()) - positives) >= rules.min_positives / 3


def margin(evidence: Evidence, rules: Rules) -> float:
    """What may be given up, in units of the loss; 0 where the champion's loss is no positive number."""
    delta = rules.margin_share * evidence.champion_loss
    return delta if 0 < delta < math.inf else 0.0


def quality(
    blocks: Blocks,
    foretold: betting.Scatter | None,
    evidence: Evidence,
    rules: Rules,
    tolerance: float = betting.TOLERANCE,
) -> tuple[NDArray[np.float64], betting.Bets]:
    """The differences of blocks that are numbers, and the bets on them."""
    difference = blocks.difference[np.isfinite(blocks.difference)]
    limits = betting.Limits(
        evidence.horizon,
        narrowest=margin(evidence, rules) if evidence.narrowest is None else evidence.narrowest,
        widest=evidence.row_reach,
        least=betting.LEAST if rules.min_blocks else SINGLE_ROWS,
        tolerance=tolerance,
    )
    placed = betting.bets(difference, foretold, limits)
    return difference, placed


def _catastrophe(rows: NDArray[np.float64], scale: float, evidence: Evidence, rules: Rules) -> float:
    """log E against "the mean difference of rows is no larger than blocks of a healthy pair show"."""
    limit = max(CATASTROPHE * scale, rules.catastrophe_share * evidence.champion_loss)
    if not 0 < limit < evidence.row_reach < math.inf:
        return 0.0
    epoch = betting.Epoch(0, evidence.row_reach + limit, tuple(eprocess.BETS), scale)
    return betting.log_e_above(rows, limit, (epoch,))


def log_e_segment(segment: Segment, evidence: Evidence, rules: Rules) -> float:
    """log E against "in this slice the challenger adds no more than segment_share of the champion's loss".

    Bets keep their first scale: a model that is broken in a slice scatters there more than foretold, and a false hold
    costs less than a late one.
    """
    limit = rules.segment_share * evidence.champion_loss
    difference, placed = quality(segment.blocks, segment.foretold, evidence, rules, math.inf)
    return betting.log_e_above(difference, limit, placed) if 0 < limit < math.inf else 0.0
