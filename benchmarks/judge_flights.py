"""The judge on real flights of 2013, with rollouts of randomly drawn days.

Days of June to December are drawn singly, or in stretches of three or seven consecutive days. Truth is set by changing
scores: noise on the logits of the better model until the challenger's mean loss over days is the champion's, or higher
by a given rise. A look follows every day; the pair's scatter is that of May.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit, logsumexp
from scipy.stats import t as student

from benchmarks.judge_claims import ALPHA, RISK, Claim, ever, first, paths, rates_claim
from benchmarks.judge_models import MODELS, START
from benchmarks.judge_rows import WEIGHTS
from benchmarks.judge_rules import DAYS
from benchmarks.judge_scores import Array
from pipelines.judge.betting import Limits, Scatter
from pipelines.judge.eprocess import BETS
from pipelines.judge.plan import long_run_ratio, oracle
from pipelines.judge.quality import CATASTROPHE

PAIRS = [("mlp_1", "mlp_2"), ("mlp_2", "mlp_1"), ("trees", "mlp_1"), ("mlp_1", "trees")]  # champion, challenger
PAIRS += [("trees", "trees_old"), ("trees_old", "trees"), ("trees", "trees_short"), ("trees_short", "trees")]
STRETCHES = (1, 3, 7)
LIMIT, LONG = 60, 240  # days of a rollout; days drawn to measure how long one takes
Pair = tuple[str, str]  # champion, challenger
MARGINS = (0.05, 0.02)
RISES = (-0.02, 0.0, 0.02, 0.05, 0.1)
QUALITY = RISK - math.log(WEIGHTS["quality"])
ONE, TINY = math.log(1 / ALPHA / WEIGHTS["catastrophe"]), 1e-6


class Flights:
    """Losses by day, and the days of rollouts."""

    def __init__(self, file: Path, reps: int, seed: int, stretches: tuple[int, ...] = STRETCHES) -> None:
        kept: dict[str, Array] = dict(np.load(file))
        self.label, self.known_at = kept["label"], kept["known_at"]
        self.score = {name: np.clip(kept[name], TINY, 1 - TINY) for name in kept if name in MODELS}
        days, self.day = np.unique(kept["day"], return_inverse=True)
        self.rows = np.bincount(self.day)
        self.since = int(np.searchsorted(days, (START - date(1970, 1, 1)).days))
        self.noise = np.random.default_rng(7).normal(size=len(self.label))
        rng, many = np.random.default_rng(seed), len(days) - self.since
        self.drawn = {}
        for stretch in stretches:
            starts = rng.integers(0, many - stretch + 1, (reps, -(-LONG // stretch)))
            self.drawn[stretch] = (starts[:, :, None] + np.arange(stretch)).reshape(reps, -1)[:, :LONG]

    def by_day(self, values: Array) -> Array:
        means: Array = np.bincount(self.day, values, len(self.rows)) / self.rows
        return means

    def loss(self, model: str) -> float:
        return float(self.by_day((self.score[model] - self.label) ** 2)[self.since :].mean())

    def rows_of(self, old: Array, new: Array) -> Array:
        """Paired differences of rows for these scores."""
        d: Array = (new - self.label) ** 2 - (old - self.label) ** 2
        return d

    def days_of(self, old: Array, new: Array) -> Array:
        """Mean paired differences of the days that rollouts are drawn from."""
        return self.by_day(self.rows_of(old, new))[self.since :]

    def scatter(self, pair: Pair) -> Scatter:
        """The scatter of the pair as trained, in May."""
        told = Scatter.of(self.by_day(self.rows_of(*(self.score[model] for model in pair)))[: self.since])
        assert told is not None
        return told

    def made(self, pair: Pair, rise: float) -> tuple[Array, Array]:
        """Scores of both, with noise on the logits of the better one so that their losses are just `rise` apart.

        `rise` is a share of the champion's mean loss over days.
        """
        old, new = (self.score[model] for model in pair)

        def beyond(old: Array, new: Array) -> float:
            losses = [float(self.by_day((one - self.label) ** 2)[self.since :].mean()) for one in (old, new)]
            return losses[1] - (1 + rise) * losses[0]

        def noisy(score: Array, size: float) -> Array:
            return np.asarray(expit(logit(score) + size * self.noise))

        if beyond(old, new) < 0:
            return old, noisy(new, float(brentq(lambda size: beyond(old, noisy(new, size)), 0, 6)))
        return noisy(old, float(brentq(lambda size: beyond(noisy(old, size), new), 0, 6))), new


class Series(NamedTuple):
    """A challenger's daily differences with known truth."""

    rise: float
    days: Array
    scatter: Scatter
    loss: float  # of the champion

    def evidence(self, drawn: Array, limit: float, sign: float = 1.0, narrower: float = 1.0) -> Array:
        """log E after every day of every rollout."""
        foretold = self.scatter._replace(sd=self.scatter.sd / narrower, largest=self.scatter.largest / narrower)
        limits = Limits(LIMIT, MARGINS[0] * self.loss, 1.0)
        looks = np.arange(1, drawn.shape[1] + 1)
        return paths(sign * self.days[drawn], sign * limit, looks, foretold, limits)

    def rollback(self, drawn: Array, narrower: float = 1.0) -> Array:
        return self.evidence(drawn, 0.0, narrower=narrower)

    def promotion(self, drawn: Array, margin: float, narrower: float = 1.0) -> Array:
        return self.evidence(drawn, margin * self.loss, -1.0, narrower)

    def oracle(self, limit: float) -> float:
        return oracle(abs(float(self.days.mean()) - limit), float(self.days.std()), long_run_ratio(self.days))


def series(flights: Flights, pair: Pair, rise: float) -> Series:
    old, new = flights.made(pair, rise)
    loss = float(flights.by_day((old - flights.label) ** 2)[flights.since :].mean())
    return Series(rise, flights.days_of(old, new), flights.scatter(pair), loss)


def simulate(file: Path, reps: int, seed: int, stretches: tuple[int, ...] = STRETCHES) -> Iterator[Claim]:
    flights = Flights(file, reps, seed, stretches)
    name = file.stem.removeprefix("scores_flight_delay_")

    pairs = [pair for pair in PAIRS if set(pair) <= set(flights.score)]
    truths = {rise: [series(flights, pair, rise) for pair in pairs] for rise in RISES}
    yield from _errors(name, flights, truths, reps)
    yield from _comparisons(name, flights, truths[0.0], pairs, reps)
    yield from _times(name, flights, truths, reps)
    yield from _catastrophes(name, flights, pairs, reps)


def _errors(name: str, flights: Flights, truths: dict[float, list[Series]], reps: int) -> Iterator[Claim]:
    for stretch, everything in flights.drawn.items():
        drawn = everything[:, :LIMIT]
        how = "days drawn singly" if stretch == 1 else f"stretches of {stretch} days"
        found = {("rollback", 0.0): [(one, ever(one.rollback(drawn), QUALITY)) for one in truths[0.0]]}
        for margin in MARGINS:
            told = [(one, ever(one.promotion(drawn, margin), RISK)) for one in truths[margin]]
            found["promotion", margin] = told
        for (what, margin), hits in found.items():
            label = f"{name}: false {what}" + (f" at the margin of {margin:.0%}" if margin else "") + f", {how}"
            whole = [float(hit.mean()) for _, hit in hits]
            if stretch == 1:
                yield rates_claim(label, whole, ALPHA, reps)
                continue
            own = [
                float((hit & _false(one.days[drawn].mean(axis=1), margin * one.loss, what)).mean()) for one, hit in hits
            ]
            yield rates_claim(f"{label}, by each window's own mean", own, ALPHA, reps)
            yield Claim(f"{label}, by the whole period's mean", "told", _each(whole), None, reps)
    drawn = flights.drawn[min(flights.drawn)][:, :LIMIT]
    for narrower in (2.0, 4.0):
        back = [float(ever(one.rollback(drawn, narrower), QUALITY).mean()) for one in truths[0.0]]
        wrong = [float(ever(one.promotion(drawn, MARGINS[0], narrower), RISK).mean()) for one in truths[MARGINS[0]]]
        label = f"{name}: May had shown 1/{narrower:.0f} of the scatter, days drawn singly"
        yield Claim(f"{label}: false rollback", "told", _each(back), None, reps)
        yield Claim(f"{label}: false promotion at the margin of {MARGINS[0]:.0%}", "told", _each(wrong), None, reps)


def _false(means: Array, limit: float, what: str) -> Array:
    """Whether the verdict was false by the window's own mean."""
    return means <= limit if what == "rollback" else means >= limit


def _comparisons(name: str, flights: Flights, equal: list[Series], pairs: list[Pair], reps: int) -> Iterator[Claim]:
    """Other kinds of judges on equal models and the same days."""
    drawn = flights.drawn[min(flights.drawn)][:, :LIMIT]
    fails = "> 0.05: it fails"
    naive = [float(_t_test(one.days[drawn]).mean()) for one in equal]
    yield Claim(f"{name}: a t-test at every look, false rollback", fails, _each(naive), max(naive) > ALPHA, reps)
    clipped = [float(_clipped(one.days[drawn]).mean()) for one in equal]
    yield Claim(f"{name}: clipped on both sides at 0.015, false rollback", "for comparison", _each(clipped), None, reps)
    rows = []
    for pair in pairs:
        gains = np.log1p(BETS[:, None] * flights.rows_of(*flights.made(pair, 0.0)))
        sums = np.stack([np.bincount(flights.day, one)[flights.since :] for one in gains])
        log_e = logsumexp(np.cumsum(sums[:, drawn], axis=2), axis=0) - math.log(len(BETS))
        rows.append(float(ever(log_e, RISK).mean()))
    yield Claim(f"{name}: ROWS as the unit, false rollback", fails, _each(rows), max(rows) > ALPHA, reps)


def _t_test(d: Array) -> Array:
    """Whether a one-sided t-test of the days so far, from the fifth day on, ever says "worse" at ALPHA."""
    count = np.arange(1, d.shape[1] + 1)
    mean = np.cumsum(d, axis=1) / count
    sd = np.sqrt(np.maximum(np.cumsum(d**2, axis=1) - count * mean**2, 1e-30) / np.maximum(count - 1, 1))
    worse: Array = (mean / (sd / np.sqrt(count)) > student.ppf(1 - ALPHA, np.maximum(count - 1, 1)))[:, 4:]
    return np.asarray(worse.any(axis=1))


def _clipped(d: Array, reach: float = 0.015) -> Array:
    """Whether the judge before this one ever rolls back: one range for all pairs, clipped on both sides."""
    bets = np.array([0.25, 0.5, 0.7, 0.9, 0.99])
    sums = np.cumsum(np.log1p(bets[:, None, None] * np.clip(d / reach, -1, 1)), axis=2)
    return ever(logsumexp(sums, axis=0) - math.log(len(bets)), RISK - math.log(0.4))


def _times(name: str, flights: Flights, truths: dict[float, list[Series]], reps: int) -> Iterator[Claim]:
    """Days to a decision, in the longest stretches, compared with an oracle."""
    drawn = flights.drawn[max(flights.drawn)][: min(reps, 500)]
    looks = np.arange(1, LONG + 1)
    asked = [("rollback", 0.0, rise) for rise in (0.02, 0.05, 0.1)]
    asked += [("promotion", margin, rise) for margin in MARGINS for rise in (0.0, -0.02)]
    for what, margin, rise in asked:
        cells, ratios, limits = [], [], []
        for one in truths[rise]:
            back = what == "rollback"
            log_e, bound = (one.rollback(drawn), QUALITY) if back else (one.promotion(drawn, margin), RISK)
            median, best = float(np.median(first(log_e, bound, looks))), one.oracle(margin * one.loss)
            gap = abs(float(one.days.mean()) - margin * one.loss)
            limits.append(math.ceil(bound / math.log1p(min(gap / one.scatter.reach, 1.0))))
            ratios.append(median / max(best, 1e-9))
            days = f"{median:.0f}" if math.isfinite(median) else f"> {LONG}"
            cells.append(f"{days} ({best:.1f}; {limits[-1]})")
        whose = "equal models" if not rise else f"{abs(rise):.0%} {'worse' if rise > 0 else 'better'}"
        label = f"{name}: days to {what}, {whose}" + (f", margin {margin:.0%}" if margin else "")
        seen = ", ".join(cells)
        yield Claim(f"{label} (oracle; least of any with this reach)", "<= 1.5 oracles", seen, max(ratios) <= 1.5)


def _catastrophes(name: str, flights: Flights, pairs: list[Pair], reps: int) -> Iterator[Claim]:
    p, champion = flights.score["mlp_1"], "mlp_1"
    days = flights.drawn[min(flights.drawn)]
    worse = flights.made((champion, champion), 0.05)
    before = Scatter.of(flights.by_day(flights.rows_of(*worse))[: flights.since])
    assert before is not None
    noisy = series(flights, (champion, champion), 0.05)._replace(scatter=before)
    found = first(noisy.rollback(days[:, :LIMIT]), QUALITY, np.arange(1, LIMIT + 1))
    seen = f"{np.median(found):.0f} days (oracle {noisy.oracle(0.0):.1f}), {np.isfinite(found).mean():.3f} found"
    yield Claim(f"{name}: +5 % Brier by noise, median", "<= 14 days", seen, bool(np.median(found) <= 14), reps)
    broken = {"inverted": 1 - p, "a constant (0.9)": np.full_like(p, 0.9)}
    for what, score in broken.items():
        rows = _rows_to_rollback(flights, score, champion, days[:300])
        seen = f"{np.median(rows):.0f} rows, {np.isfinite(rows).mean():.2f} within 4,000"
        yield Claim(f"{name}: {what} scores, median", "< 100 rows", seen, bool(np.median(rows) < 100), len(rows))
    healthy = []
    for pair in pairs:
        d = flights.rows_of(*(flights.score[model] for model in pair))
        sums = np.stack([np.bincount(flights.day, one)[flights.since :] for one in _gains(flights, d, pair)])
        log_e = logsumexp(np.cumsum(sums[:, days[:, :LIMIT]], axis=2), axis=0) - math.log(len(BETS))
        healthy.append(float(ever(log_e, ONE).mean()))
    yield rates_claim(f"{name}: catastrophe test, healthy pairs", healthy, 0.01, reps)


def _gains(flights: Flights, d: Array, pair: Pair) -> Array:
    """Log wealth of the catastrophe test's bets on every row: (K, N)."""
    limit = max(CATASTROPHE * flights.scatter(pair).scale, DAYS["catastrophe_share"] * flights.loss(pair[0]))
    gains: Array = np.log1p(BETS[:, None] * ((d - limit) / (1 + limit)))
    return gains


def _rows_to_rollback(flights: Flights, score: Array, champion: str, drawn: Array, most: int = 4_000) -> Array:
    """Rows until the catastrophe test alone rolls back, rows in order of maturity."""
    order = np.argsort(flights.known_at, kind="stable")
    rows = [order[flights.day[order] == day] for day in range(flights.since, len(flights.rows))]
    gains = _gains(flights, flights.rows_of(flights.score[champion], score), (champion, "mlp_2"))
    found = []
    for days in drawn:
        at = np.concatenate([rows[day] for day in days[:10]])[:most]
        path = logsumexp(np.cumsum(gains[:, at], axis=1), axis=0) - math.log(len(BETS))
        found.append(first(path[None], ONE, np.arange(1, len(at) + 1))[0])
    return np.array(found)


def _each(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
