"""Always-valid evidence: e-processes that may be inspected after every observation without a higher error rate.

An e-process has expectation at most 1 at any stopping time while its hypothesis H0 holds, so it exceeds 1/alpha at any
time with probability at most alpha (Ville's inequality; Howard, Ramdas, McAuliffe and Sekhon 2021).
All values here are products over observations with constant bets, hence independent of their order and of batching:
sums of batches add. Everything is in logarithms.

Sources: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"; Choe and Ramdas 2023,
"Comparing sequential forecasters"; Johari, Koomen, Pekelis and Walsh 2022 and Lindon and Malek 2022 for sample ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betaln, logsumexp

Array = NDArray[np.float64]

BETS: Array = np.array([2.0**-k for k in range(7, 0, -1)] + [0.7, 0.9])
RATIOS: Array = np.geomspace(1.1, 8.0, 16)  # alternatives of a rate ratio, in units of the one under H0
TINY = 1e-12  # the smallest mean that a bound distinguishes from 0


def bet_sums(z: ArrayLike, m: float, counts: ArrayLike | None = None, bets: ArrayLike = BETS) -> Array:
    """Log wealth of each bet against H0 "every conditional mean of z is at most m": (K,), additive over batches.

    Args:
        z: (N,) values in [0, 1].
        m: in (0, 1].
        counts: (N,) how often each value occurred; once by default.
        bets: (K,) in (0, 1), fixed beforehand. Small ones suit many observations, large ones few.
    """
    sizes = np.asarray(bets, dtype=np.float64)
    values = np.asarray(z, dtype=np.float64)
    if counts is None:
        gains = np.sort(values) / m - 1  # sorted: the same rows in another order give the same bytes
        return np.array([np.log1p(bet * gains).sum() for bet in sizes])
    return np.log1p(sizes[:, None] * (values / m - 1)) @ np.asarray(counts, dtype=np.float64)


def mixture(sums: Array) -> float:
    """log E of the equal mixture of bets (or alternatives) with these log wealths: (K,)."""
    return float(logsumexp(sums) - math.log(len(sums)))


def log_e_mean(z: ArrayLike, m: float, counts: ArrayLike | None = None, bets: ArrayLike = BETS) -> float:
    """log E against H0 "mean of z is at most m"; 0 on no data, finite always."""
    return mixture(bet_sums(z, m, counts, bets))


def lower_bound(z: ArrayLike, alpha: float, counts: ArrayLike | None = None, bets: ArrayLike = BETS) -> float:
    """Anytime lower confidence bound (level 1 - alpha) of the mean of z in [0, 1]: the m at which E = 1/alpha.

    E falls as m rises and is at most 1 at m = 1, so a bracketing search finds it; 0 where no m > 0 is refuted.
    """
    values = np.asarray(z, dtype=np.float64)

    def excess(m: float) -> float:
        return log_e_mean(values, m, counts, bets) + math.log(alpha)

    return float(brentq(excess, TINY, 1.0, xtol=1e-12)) if excess(TINY) > 0 else 0.0


def log_e_rate_below(failures: int, trials: int, limit: float) -> float:
    """log E against H0 "rate of failures >= limit", of independent trials; limit in (0, 1)."""
    return log_e_mean([0.0, 1.0], 1 - limit, [failures, trials - failures])


def rate_upper_bound(failures: int, trials: int, alpha: float) -> float:
    """Anytime upper bound (level 1 - alpha) of the rate of failures; 1 on no trials."""
    return 1 - lower_bound([0.0, 1.0], alpha, [failures, trials - failures])


def log_e_ratio(share: ArrayLike, challenger: ArrayLike, limit: float = 1.0) -> float:
    """log E against H0 "the challenger's event rate is at most `limit` times the champion's".

    Given the past, an event is the challenger's with probability q(t) = p t / (1 - p + p t), where p is the
    challenger's share of the exposure at that time and t the ratio of the rates. So no baseline rate is needed, and it
    need not be constant. The likelihood ratio of t to `limit` is averaged over RATIOS * limit.

    Args:
        share: (N,) the challenger's share of the exposure at each event. Events at 0 and 1 carry no information.
        challenger: (N,) whether the event is the challenger's. Only the first event of each entity may be included.
        limit: above 0.
    """
    p, x = np.asarray(share, dtype=np.float64), np.asarray(challenger, dtype=np.float64)
    telling = (p > 0) & (p < 1)
    shares, events = np.unique(p[telling], return_counts=True)
    alternatives = RATIOS * limit
    exposure = np.log1p(shares * (limit - 1)) - np.log1p(shares * (alternatives[:, None] - 1))
    return mixture(x[telling].sum() * np.log(RATIOS) + exposure @ events.astype(np.float64))


def log_e_ratio_below(share: ArrayLike, challenger: ArrayLike, limit: float) -> float:
    """log E against H0 "the challenger's event rate is at least `limit` times the champion's": the arms swapped."""
    p, x = np.asarray(share, dtype=np.float64), np.asarray(challenger, dtype=np.float64)
    return log_e_ratio(1 - p, 1 - x, 1 / limit)


def log_e_split(groups: Iterable[tuple[float, int, int]], strength: float) -> float:
    """log E against H0 "every entity joined the challenger with its stage's share".

    One beta-binomial likelihood ratio with prior Beta(strength * share, strength * (1 - share)) a stage, multiplied
    over stages. An entity counts once, in the stage in which it first appeared: its arm is drawn only once.

    Args:
        groups: (share, challenger entities, champion entities) of each stage; shares of 0 and 1 carry no information.
        strength: weight of the prior, in entities.
    """
    total = 0.0
    for share, challenger, champion in groups:
        if 0 < share < 1:
            a, b = strength * share, strength * (1 - share)
            total += float(betaln(a + challenger, b + champion) - betaln(a, b))
            total -= challenger * math.log(share) + champion * math.log1p(-share)
    return total
