"""What simulations of the judge share: evidence of every prefix of a stream, when it reaches a bound, and claims."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from benchmarks.judge_scores import Array
from pipelines.judge.eprocess import BETS, RATIOS

ALPHA, DELTA = 0.05, 0.02
RISK = math.log(1 / ALPHA)


@dataclass(frozen=True)
class Claim:
    claim: str
    bar: str
    seen: str
    met: bool | None  # None: told for comparison
    reps: int | None = None  # where they are not as many as asked for


def paths(d: Array, limit: float, looks: Array, reach: float = 1.0, bets: Array = BETS) -> Array:
    """log E against "mean d <= limit" at each look, as `eprocess.log_e_above` of every prefix: (R, N) -> (R, T)."""
    gains = (1 + np.clip(d / reach, -1, 1)) / (1 + limit / reach) - 1
    sums = np.stack([np.cumsum(np.log1p(bet * gains), axis=1)[:, looks - 1] for bet in bets])
    log_e: Array = logsumexp(sums, axis=0) - math.log(len(bets))
    return log_e


def ratio_paths(event: Array, challenger: Array, share: Array, looks: Array) -> Array:
    """`eprocess.log_e_ratio` of every prefix; event and challenger (R, N), share (N,) of few values."""
    hits = np.cumsum(event & challenger, axis=1)[:, looks - 1]
    total: Array = np.zeros(())
    for p in np.unique(share):
        seen = np.cumsum(event & (share == p), axis=1)[:, looks - 1]
        total = total - np.log1p(p * (RATIOS[:, None, None] - 1)) * seen
    log_e: Array = logsumexp(total + np.log(RATIOS)[:, None, None] * hits, axis=0) - math.log(len(RATIOS))
    return log_e


def ever(values: Array, bound: float) -> Array:
    return np.asarray((values >= bound).any(axis=1))


def first(values: Array, bound: float, looks: Array) -> Array:
    """The look at which the bound is reached, infinite where it is not."""
    hit = values >= bound
    return np.where(hit.any(axis=1), looks[hit.argmax(axis=1)].astype(float), np.inf)


def chunks(reps: int, size: int) -> Iterator[int]:
    yield from [size] * (reps // size) + ([reps % size] if reps % size else [])


def share_claim(claim: str, hits: Array, bar: float, above: bool = False) -> Claim:
    seen = float(np.mean(hits))
    sign = ">=" if above else "<="
    return Claim(claim, f"{sign} {bar:g}", f"{seen:.4f}", seen >= bar if above else seen <= bar, len(hits))
