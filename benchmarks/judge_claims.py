"""Shared by simulations of the judge: evidence of every prefix of a stream, when it reaches a bound, and claims."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import beta

from benchmarks.judge_scores import Array
from pipelines.judge.betting import CASH, LEAST, NOTHING, ROUNDING, Limits, Scatter, bets
from pipelines.judge.eprocess import RATIOS

ALPHA, DELTA = 0.05, 0.02
RISK = math.log(1 / ALPHA)


@dataclass(frozen=True)
class Claim:
    claim: str
    bar: str
    seen: str
    met: bool | None  # None: shown for comparison
    reps: int | None = None  # where they differ from the requested number


def paths(d: Array, limit: float, looks: Array, foretold: Scatter | None, limits: Limits) -> Array:
    """`betting.log_e_above` of every prefix, with the bets of that prefix: (R, N) -> (R, T), arguments as there."""
    asked = set(np.asarray(looks).tolist())
    worlds = _Worlds(len(d), foretold, limits)
    out = []
    for at in range(d.shape[1]):
        worlds.see(d[:, at], limit)
        if at + 1 in asked:
            out.append(worlds.log_e())
    return np.stack(out, axis=1)


class _Worlds:
    """The capital of many rollouts side by side; `see` takes the next block of each."""

    def __init__(self, many: int, foretold: Scatter | None, limits: Limits) -> None:
        self.limits = limits._replace(least=max(limits.least, LEAST))
        self.count, self.total, self.squares = 0, np.zeros(many), np.zeros(many)
        self.bound, self.reach = np.full(many, -1.0), np.ones(many)  # of the scatter, beyond which bets restart
        self.sizes, self.log, self.sign = np.zeros((0, many)), np.zeros((0, many)), np.ones((0, many))
        self.staked, self.cash, self.betting = np.full(many, 1 - CASH), np.full(many, CASH), np.zeros(many, bool)
        self.seen: list[Array] = []
        if foretold is not None:
            self._place(np.ones(many, bool), [foretold] * many)

    def _place(self, whose: Array, known: list[Scatter]) -> None:
        """Restart with bets sized by these scatters."""
        left, again = np.maximum(self._left(), 0), whose & self.betting
        self.cash = np.where(again, self.cash / 2, self.cash)
        self.staked = np.where(again, np.minimum(left + self.cash, 1 - CASH), self.staked)
        for at, scatter in zip(np.flatnonzero(whose), known, strict=True):
            self.bound[at] = self.limits.tolerance * scatter.scale + ROUNDING
            for epoch in bets((), scatter, self.limits):
                while len(self.sizes) < len(epoch.sizes):
                    self.sizes, self.log = (np.vstack([one, np.zeros(len(whose))]) for one in (self.sizes, self.log))
                    self.sign = np.vstack([self.sign, np.ones(len(whose))])
                self.reach[at], self.betting[at] = epoch.reach, True
                self.sizes[:, at] = 0
                self.sizes[: len(epoch.sizes), at] = epoch.sizes
                self.log[:, at], self.sign[:, at] = 0, 1

    def see(self, d: Array, limit: float) -> None:
        gains = 1 + self.sizes * (np.minimum(d - limit, self.reach) / self.reach)
        alive = self.sign > 0
        self.log = np.where(alive, self.log + np.log(np.maximum(np.abs(gains), 1e-300)), self.log)
        self.sign = np.where(alive & (gains <= 0), -1, self.sign)
        self.count, self.total, self.squares = self.count + 1, self.total + d, self.squares + d**2
        self.seen.append(d)
        if self.count < self.limits.least:
            return
        spread = np.maximum(self.squares - self.total**2 / self.count, 0) / (self.count - 1)
        wider = np.sqrt(spread) > self.bound
        if wider.any():
            past = np.stack(self.seen)[:, wider].T
            self._place(wider, [told for values in past if (told := Scatter.of(values))])

    def _left(self) -> Array:
        """The capital of the bets, as a share of the stake."""
        placed = self.sizes > 0
        weights = np.where(placed, self.sign, 0) / np.maximum(placed.sum(axis=0), 1)
        left: Array = self.staked * (weights * np.exp(np.minimum(self.log, 600))).sum(axis=0)
        return left

    def log_e(self) -> Array:
        total = self._left() + self.cash
        log_e: Array = np.where(self.betting, np.log(np.maximum(total, math.exp(NOTHING))), 0.0)
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
    """The look at which the bound is reached, infinite where it never is."""
    hit = values >= bound
    return np.where(hit.any(axis=1), looks[hit.argmax(axis=1)].astype(float), np.inf)


def chunks(reps: int, size: int) -> Iterator[int]:
    yield from [size] * (reps // size) + ([reps % size] if reps % size else [])


def share_claim(claim: str, hits: Array, bar: float, above: bool = False) -> Claim:
    """A claim that a rate is at most, or at least, `bar`; it fails where the rate's 95 % limit is beyond it."""
    seen, reps = float(np.mean(hits)), len(hits)
    met = least_rate(1 - seen, reps) <= 1 - bar if above else least_rate(seen, reps) <= bar
    return Claim(claim, f"{'>=' if above else '<='} {bar:g}", f"{seen:.4f}", met, reps)


def least_rate(rate: float, reps: int) -> float:
    """The lower 95 % limit (Clopper and Pearson, one-sided) of a rate observed in `reps` repetitions."""
    hits = round(rate * reps)
    return float(beta.ppf(0.05, hits, reps - hits + 1)) if hits else 0.0


def rates_claim(claim: str, rates: Sequence[float], bar: float, reps: int) -> Claim:
    """A claim that each of several rates is at most `bar`; it fails where a lower 95 % limit is beyond it."""
    met = all(least_rate(rate, reps) <= bar for rate in rates)
    return Claim(claim, f"<= {bar:g}", ", ".join(f"{rate:.4f}" for rate in rates), met, reps)
