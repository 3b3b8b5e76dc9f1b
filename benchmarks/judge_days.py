"""What the judge does on real flights of 2013, with rollouts made by drawing whole local days.

The losses come from models that the project's own steps train (three minutes on two cores, kept in a folder). Every
scored day lies after the training of every model: `mlp_1` and `mlp_2` (one recipe, two seeds), `trees` (another
family), `trees_old` (its recipe, trained a month earlier). Healthy pairs are centred, so that the truth is known: the
mean over days of the mean difference is exactly zero (or exactly delta). Worse models are `mlp_1` with noise on its
logits until its Brier score is just so much higher. A look follows every day.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from benchmarks.judge_claims import ALPHA, DELTA, RISK, Claim, ever, first
from benchmarks.judge_rules import DAYS
from benchmarks.judge_scores import Array
from pipelines import chains
from pipelines.context import Context, build_context
from pipelines.instants import midnight
from pipelines.judge.eprocess import BETS
from pipelines.steps import execute
from pipelines.walk import walk

TRAINED, EARLIER = date(2013, 6, 1), date(2013, 5, 1)
START, END = date(2013, 6, 3), date(2014, 1, 1)
MODELS = {
    "mlp_1": (TRAINED, "mlp", 1),
    "mlp_2": (TRAINED, "mlp", 2),
    "trees": (TRAINED, "hist_gradient_boosting", 1),
    "trees_old": (EARLIER, "hist_gradient_boosting", 1),
}
log = logging.getLogger(__name__)


def prepare(home: Path) -> Path:
    """Run the chain over 2013 in `home` and save label, day and every model's score of each matured example."""
    out = home / "losses.npz"
    if out.exists():
        return out
    context = build_context(Path(__file__).parent.parent / "params.yaml", home)
    window = {"start": context.usecase.start.isoformat(), "end": context.usecase.end.isoformat()}
    steps = (*chains.FEATURES, "snapshot")
    outputs = walk(chains.data, {**window, "run": None}, partial(execute, context=context), only=steps)
    version = outputs["snapshot"]["data_version"]
    sets = {as_of: _training_set(context, as_of, version) for as_of in (TRAINED, EARLIER)}
    columns: dict[str, Any] = {}
    for name, (as_of, family, seed) in MODELS.items():
        log.info("%s", name)
        inputs = {"family": family, "training_set_uri": sets[as_of], "run": name, "trials": 1, "seed": seed}
        columns |= _scored(context, name, execute("train", inputs, context)["model_uri"])
    np.savez_compressed(out, **columns)
    return out


def _training_set(context: Context, as_of: date, version: str) -> str:
    instant = midnight(as_of, context.usecase.timezone).isoformat()
    inputs = {"as_of": instant, "data_version": version, "run": f"set_{as_of}"}
    return str(execute("build_training_set", inputs, context)["training_set_uri"])


def _scored(context: Context, name: str, model_uri: str) -> dict[str, np.ndarray]:
    """Score and outcome of every example, a month at a time, in order of the example's id."""
    parts = []
    start = START
    while start < END:
        end = min(start + timedelta(days=31), END)
        as_of = midnight(END + timedelta(days=7), context.usecase.timezone).isoformat()
        inputs = {"start": start.isoformat(), "end": end.isoformat(), "as_of": as_of, "run": f"{name}_{start}"}
        known = {"resolve_model": {"version": "1", "model_uri": model_uri, "sha256": None}}
        run, steps = partial(execute, context=context), ("score", "join_outcomes")
        outputs = walk(chains.monitoring, inputs, run, only=steps, previous=known)
        parts.append(context.data.store.read_table(outputs["join_outcomes"]["outcomes_uri"]).to_pandas())
        start = end
    import pandas as pd

    frame = pd.concat(parts).dropna(subset=["label"]).sort_values("example_id")
    day = pd.to_datetime(frame["local_day"]).to_numpy("datetime64[D]").astype(np.int64)
    shared = {"label": frame["label"].to_numpy(np.float64), "day": day}
    order = {"known_at": frame["label_known_at"].astype("int64").to_numpy()} if "label_known_at" in frame else {}
    return {**shared, **order, name: frame["score"].to_numpy(np.float64)}


PAIRS = [("mlp_1", "mlp_2"), ("mlp_2", "mlp_1"), ("trees", "mlp_1"), ("mlp_1", "trees")]
PAIRS += [("trees", "trees_old"), ("trees_old", "trees")]  # champion, challenger
CANARY: dict[str, Any] = {"bets": BETS, "rollback_range": 0.02, "clip_range": 0.02}
ONE = {name: value for name, value in DAYS.items() if name != "promotion_bets"}  # the same bets for both
MARGIN = DAYS["catastrophe_margin"]


def log_bets(d: Array, limit: float, reach: float, bets: Array) -> Array:
    """Log wealth of every bet on every value: (K, N), as `eprocess.bet_sums` adds up."""
    gains = (1 + np.clip(d / reach, -1, 1)) / (1 + limit / reach) - 1
    return np.log1p(np.asarray(bets)[:, None] * gains)


class Flights:
    """Losses by day, and rollouts drawn from them."""

    def __init__(self, file: Path, reps: int, seed: int, days: int) -> None:
        kept: dict[str, Array] = dict(np.load(file))
        self.label, self.known_at = kept["label"], kept["known_at"]
        self.score = {name: kept[name] for name in MODELS}
        self.loss = {name: (score - self.label) ** 2 for name, score in self.score.items()}
        self.day = np.unique(kept["day"], return_inverse=True)[1]
        self.rows = np.bincount(self.day)
        self.drawn = np.random.default_rng(seed).integers(0, len(self.rows), (reps, days))
        self.looks = np.arange(1, days + 1)

    def by_day(self, values: Array) -> Array:
        """Sums over each day's rows, along the last axis."""
        return np.stack([np.bincount(self.day, row) for row in np.atleast_2d(values)])

    def means(self, d: Array) -> Array:
        means: Array = self.by_day(d)[0] / self.rows
        return means

    def paths(self, sums: Array) -> Array:
        """log E after every day of every rollout, from each bet's log wealth by day (K, days)."""
        log_e: Array = logsumexp(np.cumsum(sums[:, self.drawn], axis=2), axis=0) - math.log(len(sums))
        return log_e

    def rollback(self, d: Array, setting: Mapping[str, Any], blocks: bool = True) -> Array:
        """The weighted evidence for a rollback, with no errors and no slow requests (their E stays 1)."""
        rows = self.by_day(log_bets(d, MARGIN, 1.0, BETS))
        quality = (
            log_bets(self.means(d), 0.0, setting["rollback_range"], setting["bets"])
            if blocks
            else self.by_day(log_bets(d, 0.0, 1.0, BETS))
        )
        parts = [self.paths(quality), self.paths(rows), np.zeros(self.drawn.shape)]
        log_e: Array = logsumexp(np.stack(parts), axis=0, b=np.array([0.4, 0.2, 0.4])[:, None, None])
        return log_e

    def promotion(self, d: Array, delta: float, setting: Mapping[str, Any], blocks: bool = True) -> Array:
        if blocks:
            bets = setting.get("promotion_bets", setting["bets"])
            return self.paths(log_bets(-self.means(d), -delta, setting["clip_range"], bets))
        return self.paths(self.by_day(log_bets(-d, -delta, 1.0, BETS)))

    def centred(self, champion: str, challenger: str) -> Array:
        d = self.loss[challenger] - self.loss[champion]
        centred: Array = d - self.means(d).mean()
        return centred

    def worse(self, rise: float, how: str = "noise", model: str = "mlp_1") -> Array:
        """Differences from the model of itself with noise on its logits, or with all logits shifted up."""
        p, noise = self.score[model], np.random.default_rng(7).normal(size=len(self.label))
        noise = noise if how == "noise" else np.ones_like(noise)
        logit, old = np.log(p / (1 - p)), self.loss[model]

        def beyond(size: float) -> float:
            return float(((expit(logit + size * noise) - self.label) ** 2).mean() - (1 + rise) * old.mean())

        size = brentq(beyond, 0.0 if how == "noise" else 0.3, 5.0)
        worse: Array = (expit(logit + size * noise) - self.label) ** 2 - old
        return worse

    def rows_to_rollback(self, d: Array, reps: int, most: int = 4_000) -> Array:
        """Rows until the catastrophe test alone rolls back, rows in order of maturity."""
        order = np.argsort(self.known_at, kind="stable")
        rows = [order[self.day[order] == day] for day in range(len(self.rows))]
        gains = log_bets(d, MARGIN, 1.0, BETS)
        bound, found = RISK - math.log(0.2), []
        for drawn in self.drawn[:reps]:
            at = np.concatenate([rows[day] for day in drawn[:10]])[:most]
            path = logsumexp(np.cumsum(gains[:, at], axis=1), axis=0) - math.log(len(BETS))
            found.append(first(path[None], bound, np.arange(1, len(at) + 1))[0])
        return np.array(found)


def simulate(file: Path, reps: int, seed: int, days: int = 60) -> list[Claim]:
    flights = Flights(file, reps, seed, days)
    claims: list[Claim] = []
    for name, setting in (
        ("", DAYS),
        (" (the same bets for both)", ONE),
        (" (clip_range 0.02, the small bets too)", CANARY),
    ):
        claims += _settled(flights, setting, name)
    back, wrong = [], []
    for pair in PAIRS:
        d, delta = flights.centred(*pair), _delta(flights, pair)
        back.append(float(ever(flights.rollback(d, DAYS, blocks=False), RISK).mean()))
        wrong.append(float(ever(flights.promotion(d + delta, delta, DAYS, blocks=False), RISK).mean()))
    fails = "> 0.05: it must fail"
    claims += [
        Claim("flights, ROWS as the unit: false rollback, each pair", fails, _each(back), min(back) > ALPHA),
        Claim("flights, ROWS as the unit: false promotion, each pair", fails, _each(wrong), min(wrong) > ALPHA),
    ]
    return claims + _catastrophes(flights)


def _settled(flights: Flights, setting: Mapping[str, Any], name: str) -> list[Claim]:
    back = [float(ever(flights.rollback(flights.centred(*p), setting), RISK).mean()) for p in PAIRS]
    wrong, equal = [], []
    for pair in PAIRS:
        d, delta = flights.centred(*pair), _delta(flights, pair)
        wrong.append(float(ever(flights.promotion(d + delta, delta, setting), RISK).mean()))
        equal.append(first(flights.promotion(d, delta, setting), RISK, flights.looks))
    claims = [
        Claim(f"flights{name}: false rollback, each healthy pair", "<= 0.05", _each(back), max(back) <= ALPHA),
        Claim(f"flights{name}: truth at delta, false promotion", "<= 0.05", _each(wrong), max(wrong) <= ALPHA),
    ]
    for rise, how, bar in ((0.05, "noise", 24.0), (0.1, "noise", 23.0), (0.05, "shift", None)):
        time = first(flights.rollback(flights.worse(rise, how), setting), RISK, flights.looks)
        median, p90 = np.quantile(time, [0.5, 0.9], method="higher")
        seen = f"{median:.0f} days (p90 {p90:.0f}), {np.isfinite(time).mean():.3f} found"
        met = None if bar is None else bool(median <= bar)
        bars = "for comparison" if bar is None else f"<= {bar:.0f} days"
        claims.append(Claim(f"flights{name}: +{rise:.0%} Brier by {how}, median", bars, seen, met))
    seen = ", ".join(f"{np.median(time):.0f} days ({np.isfinite(time).mean():.2f})" for time in equal)
    return [*claims, Claim(f"flights{name}: equal model promoted (share in 60 days)", "stated", seen, None)]


def _delta(flights: Flights, pair: tuple[str, str]) -> float:
    return DELTA * float(flights.loss[pair[0]].mean())


def _each(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _catastrophes(flights: Flights) -> list[Claim]:
    p, label = flights.score["mlp_1"], flights.label
    broken: dict[str, Callable[[], Array]] = {
        "inverted scores": lambda: 1 - p,
        "a constant (0.9)": lambda: np.full_like(p, 0.9),
        "scores doubled": lambda: np.minimum(2 * p, 1.0),
    }
    claims = []
    for name, score in broken.items():
        rows = flights.rows_to_rollback((score() - label) ** 2 - flights.loss["mlp_1"], 300)
        seen = f"{np.median(rows):.0f} rows, {np.isfinite(rows).mean():.2f} within 4,000"
        claims.append(Claim(f"flights, catastrophe test: {name}, median", "stated", seen, None, len(rows)))
    healthy = [
        float(ever(flights.paths(flights.by_day(log_bets(flights.loss[b] - flights.loss[a], MARGIN, 1.0, BETS))),
                   RISK - math.log(0.2)).mean())
        for a, b in PAIRS
    ]  # fmt: skip
    return [*claims, Claim("flights, catastrophe test: healthy pairs", "<= 0.01", _each(healthy), max(healthy) <= 0.01)]
