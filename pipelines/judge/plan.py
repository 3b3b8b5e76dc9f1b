"""The number of blocks to expect of a rollout before it starts, from the pair's own scatter.

At each block a bet's capital grows by a factor of exp(g), g = E log(1 + bet * x / reach) (Breiman 1961), here for
normal x. The evidence is to be expected where the mean capital of bets that all grow like this reaches it; between half
and two thirds of rollouts end by then, the more the smaller the mean beside its scatter. Not in a plan: the ramp's
minimums, labels that mature late, a scatter that turns out wider than foretold.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import logsumexp

from pipelines.json_text import JsonObject
from pipelines.judge.betting import CASH, Limits, Scatter, bets
from pipelines.judge.quality import Rules

RISES = (-0.05, -0.02, 0.0, 0.02, 0.05, 0.10)  # of challengers' losses over the champion's, as shares of that
NODES, WEIGHTS = hermegauss(64)
LOST = 1e-6  # is left of a capital that a block takes all of
LEAST_RATIO = 0.01  # of the long-run variance to the variance: few blocks may show next to none
TEN_YEARS = 3650  # days


def blocks_needed(gap: float, scatter: Scatter, evidence: float, limits: Limits) -> float:
    """The whole number of blocks after which log E is to be expected to reach `evidence`; infinite where no bet grows.

    Args:
        gap: how far the mean difference lies beyond the tested limit, in units of the loss.
    """
    placed = bets((), scatter, limits)
    if not gap > 0 or not placed:
        return math.inf
    (epoch,) = placed
    moves = np.minimum(gap + scatter.sd * NODES, epoch.reach) / epoch.reach
    gains = np.maximum(1 + np.outer(epoch.sizes, moves), LOST)
    growth = np.log(gains) @ WEIGHTS / WEIGHTS.sum()
    if not growth.max() > 0:
        return math.inf
    goal = math.log((math.exp(evidence) - CASH) / (1 - CASH)) + math.log(len(growth))
    blocks = brentq(lambda t: logsumexp(t * growth) - goal, 0, 2 * goal / growth.max())  # convex, so one root
    return float(math.ceil(blocks - 1e-9))


def oracle(gap: float, scatter_sd: float, long_run_ratio: float) -> float:
    """The blocks for a test that knows the variance and looks once (2 log 20 is about 6); infinite for no gap."""
    return 6 * scatter_sd**2 * long_run_ratio / gap**2 if gap > 0 else math.inf


def long_run_ratio(differences: ArrayLike, lags: int = 7) -> float:
    """Long-run variance (Newey and West 1987, Bartlett's weights) over variance; 1 for too few blocks or equal ones."""
    values = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2 * lags or np.ptp(values) == 0:
        return 1.0
    centred = values - values.mean()
    lagged = [(1 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag]) for lag in range(1, lags + 1)]
    return max(1 + 2 * math.fsum(lagged) / float(centred @ centred), LEAST_RATIO)


@dataclass(frozen=True)
class Pair:
    """A champion and a challenger, as known before their rollout.

    Attributes:
        scatter, long_run: of their blocks (`Scatter.of`, `long_run_ratio`).
        loss: the champion's.
        widest: the largest difference that a block can have.
    """

    scatter: Scatter
    long_run: float
    loss: float
    widest: float


@dataclass(frozen=True)
class Wait:
    """The blocks to expect, and the oracle's; infinite where there is nothing to expect."""

    blocks: float
    oracle: float


@dataclass(frozen=True)
class Row:
    """A challenger whose loss lies above the champion's by the share `rise`; `promotion` is by margin of the plan."""

    rise: float
    promotion: tuple[Wait, ...]
    rollback: Wait


@dataclass(frozen=True)
class Plan:
    """What to expect of a rollout: a row for each of RISES.

    Attributes:
        margins: shares of the champion's loss, ascending, the rules' own (`margin`) among them.
        equal: for the promotion of an equal challenger at the rules' own margin.
        tightest_margin, shortest_limit: the smallest that equal models are promoted within, all else as in the rules:
            in whole tenths of a per cent and whole days, None where none is. Bets follow the limit; those in `rows` are
            for the one in force, so that the two may differ a little.
    """

    margins: tuple[float, ...]
    rows: tuple[Row, ...]
    equal: Wait
    blocks_per_day: float
    margin: float
    max_days: float
    tightest_margin: float | None
    shortest_limit: int | None

    def ends_within(self, days: float) -> bool:
        """Whether equal models at the rules' own margin are to be promoted by then."""
        return self.equal.blocks <= days * self.blocks_per_day

    def advice(self) -> str:
        """What to expect of equal models and, where that is no promotion in time, what to change."""
        at, limit, days = f"at a margin of {_percent(self.margin)}", f"{self.max_days:g} days", self.shortest_limit
        unit = "blocks" if self.blocks_per_day == 1 else f"blocks ({self.blocks_per_day:g} a day)"
        if self.ends_within(self.max_days):
            return (
                f"Equal models are to be promoted after about {_whole(self.equal.blocks)} {unit} {at} (an oracle that "
                f"knows the variance and looks once: {_whole(self.equal.oracle)}); the limit is {limit}."
            )
        need = "more than 10 years" if days is None else f"about {_whole(days * self.blocks_per_day)} {unit}"
        ways = [f"margin of {_percent(self.tightest_margin)}"] if self.tightest_margin is not None else []
        ways += [f"limit of {days} days"] if days is not None else []
        return (
            f"Equal models need {need} {at}, more than the limit of {limit}: the rollout would end inconclusive. "
            f"{'A ' + ' or a '.join(ways) if ways else 'No margin or limit'} would do."
        )

    def as_json(self) -> JsonObject:
        """The fields, with null for what is infinite."""
        document: JsonObject = json.loads(json.dumps(asdict(self)), parse_constant=lambda _: None)
        return document


def plan(
    pair: Pair,
    rules: Rules,
    horizon: float,
    blocks_per_day: float = 1.0,
    margins: Sequence[float] = (0.01, 0.02, 0.05, 0.10),
) -> Plan:
    """What to expect of better, equal and worse challengers.

    Args:
        horizon: the number of blocks within the limit of the rules.
        margins: to show besides the rules' own.
    """
    own, limit, shown = rules.margin_share, rules.max_days, tuple(sorted({*margins, rules.margin_share}))

    def wait(share: float, margin: float, level: float, days: float = limit) -> Wait:
        gap, limits = share * pair.loss, Limits(horizon * days / limit, margin * pair.loss, pair.widest)
        blocks = blocks_needed(gap, pair.scatter, -math.log(level), limits)
        return Wait(blocks, oracle(gap, pair.scatter.sd, pair.long_run))

    def promotion(rise: float, margin: float, days: float = limit) -> Wait:
        expected = wait(margin - rise, margin, rules.alpha, days)
        return Wait(max(expected.blocks, float(rules.min_blocks)), expected.oracle)

    def in_time(margin: float, days: float) -> bool:
        return promotion(0.0, margin, days).blocks <= days * blocks_per_day

    tenths = _first(range(1, 1000), lambda tenths: in_time(tenths / 1000, limit))
    level = rules.alpha * rules.weights.quality
    return Plan(
        margins=shown,
        rows=tuple(Row(rise, tuple(promotion(rise, at) for at in shown), wait(rise, own, level)) for rise in RISES),
        equal=promotion(0.0, own),
        blocks_per_day=blocks_per_day,
        margin=own,
        max_days=limit,
        tightest_margin=None if tenths is None else tenths / 1000,
        shortest_limit=_first(range(1, TEN_YEARS + 1), lambda days: in_time(own, days)),
    )


def as_markdown(plan: Plan) -> str:
    """A table of the days to expect, the oracle's in brackets; `-` where there is nothing to expect."""

    def cell(wait: Wait) -> str:
        days, best = (_days(blocks / plan.blocks_per_day) for blocks in (wait.blocks, wait.oracle))
        return "-" if math.isinf(wait.blocks) else f"{days} ({best})"

    head = ["challenger", *(f"promotion at {_percent(margin)}" for margin in plan.margins), "rollback"]
    lines = [[_challenger(row.rise), *map(cell, row.promotion), cell(row.rollback)] for row in plan.rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))


def _first(numbers: range, holds: Callable[[int], bool]) -> int | None:
    """The smallest that holds, where all larger ones do."""
    at = bisect_left(numbers, True, key=holds)
    return numbers[at] if at < len(numbers) else None


def _whole(number: float) -> int:
    return max(math.ceil(number - 1e-9), 1)


def _days(days: float) -> str:
    return "> 10 years" if days > TEN_YEARS else str(_whole(days))


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _challenger(rise: float) -> str:
    return f"{'worse' if rise > 0 else 'better'} by {_percent(abs(rise))}" if rise else "equal"
