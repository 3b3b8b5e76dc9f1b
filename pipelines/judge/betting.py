"""Evidence on the mean of paired block differences, with bets in units of the pair's own scatter.

Bets share a capital of 1, but for some cash. Each gains `size * x / reach` of what it has at every block, where x is
the block's difference beyond the tested limit. If what was to be expected of x, block by block given the past, is at
most 0 on average over the blocks since these bets began, the capital exceeds 1/alpha at any time with probability at
most alpha: a constant bet satisfies E[1 + b x | past] <= exp(b E[x | past]), so blocks need not be independent, nor
have one mean. The conditions:

- x is limited to `reach` above, which can only lower its mean. It is never raised from below. A bet that loses more
  than it has (a block beyond -reach / size) stops, and its debt counts against the capital of the others. The bound of
  alpha is exact while no block lies so far out; without any such limit no test of a mean exists (Bahadur and Savage
  1956). A capital of nothing or less is no evidence.
- The reach is known before the blocks that it applies to: from what the pair scattered before the rollout, or, where
  the blocks seen scatter more than that foretold, from those. Bets then begin anew with what was left of their stake
  (gains and debts are gone) and half of the cash.

Sources: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"; Choe and Ramdas 2023,
"Comparing sequential forecasters", for the mean of conditional expectations.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, logsumexp

Array = NDArray[np.float64]

REACH = 3.0  # of the largest bets, in scales; benchmarks/results/judge.md shows what more and less bring
LARGEST = 0.95  # share of the capital that a block at -reach takes from the largest bet
TOLERANCE = 1.5  # scales: blocks that scatter more than this make the scale anew
LEAST = 5  # blocks that tell a scale
ROUNDING = 1e-9  # of a standard deviation
CONFIDENCE = 0.8  # that a scale of few blocks is not too small, were they normal
CASH = 0.1  # of the capital, for bets that begin anew
STEPS = 9  # in which a bound is looked for
FEW = 1_000  # blocks whose sum is exact, so that the same rows in another order give the same bytes
NOTHING = -700.0  # log E of a capital of nothing


class Scatter(NamedTuple):
    """How the differences of a pair scatter from block to block.

    Attributes:
        blocks: how many were seen.
        sd: their standard deviation, in units of the loss.
        largest: the largest absolute difference among them.
    """

    blocks: int
    sd: float
    largest: float

    @classmethod
    def of(cls, differences: ArrayLike) -> Scatter | None:
        """The scatter of block differences (B,); None where there are fewer than LEAST that are numbers."""
        values = np.asarray(differences, dtype=np.float64)
        values = values[np.isfinite(values)]
        if len(values) < LEAST:
            return None
        return cls(len(values), float(values.std(ddof=1)), float(np.abs(values).max()))

    @property
    def scale(self) -> float:
        """The standard deviation, raised by what so few blocks leave open."""
        return self.sd * math.sqrt((self.blocks - 1) / float(chdtri(self.blocks - 1, CONFIDENCE)))

    @property
    def reach(self) -> float:
        return max(REACH * self.scale, self.largest)


class Limits(NamedTuple):
    """What bounds the bets on a series.

    Attributes:
        horizon: blocks within the time limit; the more, the smaller bets are worth placing.
        narrowest, widest: limits of the reach. Models that hardly differ scatter by next to nothing, and no reach need
            be larger than the largest difference there can be.
        least: blocks that may show that the scale was too small; more for single rows, whose tails are long.
        tolerance: blocks that scatter by more than so many scales make the scale anew.
    """

    horizon: float
    narrowest: float = 0.0
    widest: float = math.inf
    least: int = LEAST
    tolerance: float = TOLERANCE


class Epoch(NamedTuple):
    """The bets from a block on.

    Attributes:
        since: the number of blocks before.
        reach: in units of the loss.
        sizes: (K,) shares of the capital, ascending.
        scale: in units of the loss.
    """

    since: int
    reach: float
    sizes: tuple[float, ...]
    scale: float


Bets = tuple[Epoch, ...]  # of a series of blocks, in their order; none where nothing can be tested yet


def bets(differences: ArrayLike, foretold: Scatter | None, limits: Limits) -> Bets:
    """The bets on blocks in their order (B,), by the scatter foretold and what was seen since.

    Args:
        foretold: None where nothing is known; then the first `limits.least` blocks make the scale.
    """
    values, least = np.asarray(differences, dtype=np.float64), max(limits.least, LEAST)
    count = np.arange(1, len(values) + 1)
    squares = np.cumsum(values**2) - np.cumsum(values) ** 2 / count
    seen = np.sqrt(np.maximum(squares, 0) / np.maximum(count - 1, 1))
    known, since, epochs = foretold, 0, []
    while True:
        if known is not None and (reach := min(max(known.reach, limits.narrowest), limits.widest)):
            epochs.append(Epoch(since, reach, _sizes(reach, known.scale, limits.horizon), known.scale))
        most = -1.0 if known is None else limits.tolerance * known.scale + ROUNDING
        wider = np.flatnonzero((seen > most) & (count >= least) & (count > since))
        if not len(wider):
            return tuple(epochs)
        since = int(wider[0]) + 1
        known = Scatter.of(values[:since])


def _sizes(reach: float, scale: float, horizon: float) -> tuple[float, ...]:
    """Halves of the largest bet, down to the one that a mean would need that just shows within the horizon.

    A mean of sqrt(6 / N) standard deviations does (2 log 20 is about 6), and the best bet on it is that many of them.
    """
    smallest = math.sqrt(6 / max(horizon, 1.0)) * reach / scale / 2 if scale else LARGEST
    sizes = [LARGEST]
    while sizes[-1] / 2 >= min(smallest, LARGEST / 2):
        sizes.append(sizes[-1] / 2)
    return tuple(reversed(sizes))


def log_e_above(differences: ArrayLike, limit: float, placed: Bets) -> float:
    """log E against "the mean difference is at most `limit`": 0 on no evidence, NOTHING where the capital is lost.

    Args:
        differences: (B,) of all blocks in their order.
    """
    if not placed:
        return 0.0
    values = np.asarray(differences, dtype=np.float64) - limit
    staked, cash = math.log1p(-CASH), CASH
    for epoch, following in pairwise((*placed, None)):
        assert epoch is not None
        moves = np.minimum(values[epoch.since : following and following.since], epoch.reach) / epoch.reach
        parts = [_capital(size * moves) for size in epoch.sizes]
        grown, sign = logsumexp([log for log, _ in parts], b=[sign for _, sign in parts], return_sign=True)
        left = staked + float(grown) - math.log(len(parts))
        if following is None:
            break
        cash /= 2
        staked = min(float(logsumexp([left, math.log(cash)], b=[max(sign, 0.0), 1.0])), math.log1p(-CASH))
    total, whole = logsumexp([left, math.log(cash)], b=[sign, 1.0], return_sign=True)
    return max(float(total), NOTHING) if whole > 0 else NOTHING


def log_e_below(differences: ArrayLike, limit: float, placed: Bets) -> float:
    """log E against "the mean difference is at least `limit`"."""
    return log_e_above(-np.asarray(differences, dtype=np.float64), -limit, placed)


def bounds(differences: ArrayLike, alpha: float, placed: Bets) -> tuple[float | None, float | None]:
    """Anytime lower and upper bound of the mean difference, each at level 1 - alpha; None if nothing is refuted."""
    values = np.asarray(differences, dtype=np.float64)
    upper = _lower(-values, alpha, placed)
    return _lower(values, alpha, placed), None if upper is None else -upper


def _lower(values: Array, alpha: float, placed: Bets) -> float | None:
    """The least limit at which log_e_above is no more than log(1 / alpha). Debts apart, E falls as the limit rises."""

    def excess(limit: float) -> float:
        return log_e_above(values, limit, placed) + math.log(alpha)

    seen = values[placed[-1].since :] if placed else values[:0]
    if not len(seen):
        return None
    limits = np.linspace(
        float(values.min()) - placed[-1].reach, float(values.max()), STEPS
    )  # every block tells the most
    passing = next((at for at, limit in enumerate(limits) if excess(limit) <= 0), None)
    if not passing:
        return None
    return float(brentq(excess, limits[passing - 1], limits[passing], xtol=1e-6 * placed[-1].reach))


def _capital(moves: Array) -> tuple[float, float]:
    """log of what a bet has, and its sign: it stops at the block that takes all it has, or more."""
    lost = np.flatnonzero(moves <= -1)
    if not len(lost):
        return math.fsum(np.log1p(moves)) if len(moves) < FEW else float(np.log1p(moves).sum()), 1.0
    last = int(lost[0])
    debt = -1 - float(moves[last])
    if debt == 0:
        return NOTHING, 1.0
    return float(np.log1p(moves[:last]).sum()) + math.log(debt), -1.0
