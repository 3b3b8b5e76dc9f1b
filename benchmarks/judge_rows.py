"""The judge on independent rows: simulations with known truth, each a list of claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, expit, logsumexp
from scipy.stats import norm

from benchmarks.judge_claims import ALPHA, DELTA, RISK, Claim, chunks, ever, first, paths, ratio_paths, share_claim
from benchmarks.judge_rules import rules
from benchmarks.judge_scores import Array, brier, champion_brier, draw, log_loss
from pipelines.judge import Blocks, Events, Evidence, Exposure, Scatter, SplitCount, judge_evidence, matured
from pipelines.judge.betting import Limits
from pipelines.judge.eprocess import BETS
from pipelines.judge.quality import SINGLE_ROWS

WEIGHTS = {"quality": 0.7, "catastrophe": 0.1, "errors": 0.1, "slow": 0.1}  # as params.yaml
QUALITY = math.log(1 / ALPHA / WEIGHTS["quality"])
RATE, SLOW = 0.005, 0.05
HORIZON, EVALUATED = 10_000, 3_000  # rows within the time limit, and before the rollout


@lru_cache
def foretold(seed: int, rise: float = 0.0, loss: Callable[[Array, Array], Array] = brier) -> Scatter | None:
    """The scatter of a pair on rows before the rollout."""
    label, old, new = draw(np.random.default_rng([seed, 99]), (1, EVALUATED), rise)
    return Scatter.of((loss(label, new) - loss(label, old))[0])


def quality(d: Array, limit: float, looks: Array, scatter: Scatter | None) -> Array:
    """The judge's evidence on independent rows; their losses lie in [0, 1]."""
    margin = DELTA * champion_brier()
    return paths(d, limit, looks, scatter, Limits(HORIZON, margin, 1.0, SINGLE_ROWS))


def catastrophe(d: Array, looks: Array) -> Array:
    """The judge's catastrophe test, at a quarter of the champion's loss."""
    limit = 0.25 * champion_brier()
    gains = (d - limit) / (1 + limit)
    sums = np.stack([np.cumsum(np.log1p(bet * gains), axis=1)[:, looks - 1] for bet in BETS])
    log_e: Array = logsumexp(sums, axis=0) - math.log(len(BETS))
    return log_e


def identical(reps: int, seed: int, n: int = 10_000) -> list[Claim]:
    rng, looks = np.random.default_rng(seed), np.linspace(n // 200, n, 200).astype(int)
    found: dict[str, list[Array]] = {}
    for size in chunks(reps, 100):
        label, old, new = draw(rng, (size, n), 0.0)
        d, d_log = brier(label, new) - brier(label, old), log_loss(label, new) - log_loss(label, old)
        arm = rng.random((size, n)) < 0.5
        half = np.full(n, 0.5)
        log_e = {
            "Brier": quality(d, 0.0, looks, foretold(seed)),
            "log loss": quality(d_log, 0.0, looks, foretold(seed, loss=log_loss)),
            "catastrophe": catastrophe(d, looks),
            "errors": ratio_paths(rng.random((size, n)) < RATE, arm, half, looks),
            "slow requests": ratio_paths(rng.random((size, n)) < SLOW, arm, half, looks),
        }
        parts = [log_e[name] for name in ("Brier", "catastrophe", "errors", "slow requests")]
        log_e["combined"] = logsumexp(np.stack(parts), axis=0, b=np.array([*WEIGHTS.values()])[:, None, None])
        for name, values in log_e.items():
            found.setdefault(name, []).append(ever(values, RISK))
        sums, squares = np.cumsum(d, axis=1)[:, looks - 1], np.cumsum(d**2, axis=1)[:, looks - 1]
        mean = sums / looks
        t = mean / np.sqrt(np.maximum(squares / looks - mean**2, 1e-30) / looks)
        found.setdefault("t-test", []).append(ever(t, norm.ppf(1 - ALPHA)))
    naive = np.concatenate(found.pop("t-test"))
    return [
        *(share_claim(f"identical, 200 looks: false rollback, {k}", np.concatenate(v), 0.05) for k, v in found.items()),
        share_claim("the same data, naive paired t-test", naive, 0.25, above=True),
    ]


def at_delta(reps: int, seed: int, n: int = 10_000) -> list[Claim]:
    rng, looks = np.random.default_rng(seed), np.linspace(n // 200, n, 200).astype(int)
    margin, hits = DELTA * champion_brier(), []
    for size in chunks(reps, 100):
        label, old, new = draw(rng, (size, n), DELTA)
        d = brier(label, old) - brier(label, new)
        hits.append(ever(quality(d, -margin, looks, foretold(seed, DELTA)), RISK))
    return [share_claim("truth exactly at delta, 200 looks: false promotion", np.concatenate(hits), 0.05)]


def speed(reps: int, seed: int, n: int = 8_000, unpaired_n: int = 80_000) -> list[Claim]:
    rng, looks = np.random.default_rng(seed), np.arange(10, n + 1, 10)
    late = np.arange(100, unpaired_n + 1, 100)
    paired, unpaired, base = [], [], champion_brier()
    for size in chunks(reps, 100):
        label, old, new = draw(rng, (size, n), 0.05)
        d = brier(label, new) - brier(label, old)
        paired.append(first(quality(d, 0.0, looks, foretold(seed, 0.05)), QUALITY, looks))
    for size in chunks(reps, 50):
        label, old, new = draw(rng, (size, unpaired_n), 0.05)
        arm = rng.random(label.shape) < 0.5
        d = np.where(arm, 2.0, -2.0) * (brier(label, np.where(arm, new, old)) - base)
        scatter = Scatter.of(d[0, :EVALUATED])
        limits = Limits(unpaired_n, widest=2.0, least=SINGLE_ROWS)
        unpaired.append(first(paths(d, 0.0, late, scatter, limits), QUALITY, late))
    with_pairs, without = np.concatenate(paired), np.concatenate(unpaired)
    median, p90 = np.quantile(with_pairs, [0.5, 0.9], method="higher")
    times = float(np.median(without) / median)
    return [
        Claim("+5 % Brier, paired: median labelled requests to rollback", "<= 1600", f"{median:.0f}", median <= 1600),
        Claim("+5 % Brier, paired: 90th percentile", "<= 3200", f"{p90:.0f}", p90 <= 3200),
        Claim("+5 % Brier, unpaired 50/50: times as many", ">= 8", f"{times:.1f}", times >= 8),
    ]


def ramp(reps: int, seed: int, n: int = 30_000, entities: int = 3_000) -> list[Claim]:
    """Errors while the share goes 5, 25, 50 % and the baseline drifts from 1 % to 4 %, the same for both arms."""
    rng, looks = np.random.default_rng(seed), np.linspace(n // 200, n, 200).astype(int)
    share, base = np.repeat([0.05, 0.25, 0.5], n // 3), np.linspace(0.01, 0.04, n)
    plain, pooled, clustered, every = [], [], [], []
    for size in chunks(reps, 20):
        arm, event = rng.random((size, n)) < share, rng.random((size, n)) < base
        plain.append(ever(ratio_paths(event, arm, share, looks), RISK))
        pooled.append(ever(_pooled_z(event, arm, looks), norm.ppf(1 - ALPHA)))
        entity = rng.integers(0, entities, (size, n)) + np.arange(size)[:, None] * entities
        frailty, place = rng.gamma(0.25, 4.0, size * entities), rng.random(size * entities)
        arm, event = place[entity] < share, rng.random((size, n)) < np.minimum(base * frailty[entity], 1)
        every.append(ever(ratio_paths(event, arm, share, looks), RISK))
        clustered.append(ever(ratio_paths(_first_of_entity(event, entity), arm, share, looks), RISK))
    return [
        share_claim("errors under a ramp, baseline 1 % to 4 %: false rollback", np.concatenate(plain), 0.05),
        share_claim("the same with clustered entities, first events", np.concatenate(clustered), 0.05),
        Claim("clustered entities, every event counted", "for comparison", f"{np.concatenate(every).mean():.4f}", None),
        Claim("pooled z-test under the ramp", "for comparison", f"{np.concatenate(pooled).mean():.4f}", None),
    ]


def _first_of_entity(event: Array, entity: Array) -> Array:
    rows, at = np.nonzero(event)
    kept = np.unique(entity[rows, at], return_index=True)[1]
    only = np.zeros_like(event)
    only[rows[kept], at[kept]] = True
    return only


def _pooled_z(event: Array, arm: Array, looks: Array) -> Array:
    new, old = (np.cumsum(event & side, axis=1)[:, looks - 1] for side in (arm, ~arm))
    n_new = np.maximum(np.cumsum(arm, axis=1)[:, looks - 1], 1)
    n_old = np.maximum(looks - n_new, 1)
    rate = (new + old) / looks
    z: Array = (new / n_new - old / n_old) / np.sqrt(np.maximum(rate * (1 - rate), 1e-9) * (1 / n_new + 1 / n_old))
    return z


def label_delay(reps: int, seed: int, n: int = 6_000, window: float = 2_000.0) -> list[Claim]:
    """A challenger that over-predicts and is 5 % worse; positive labels arrive at once, negative ones late."""
    rng = np.random.default_rng(seed)
    looks, at, margin = np.linspace(window + 100, n + window, 50), np.arange(n, dtype=float), DELTA * champion_brier()
    label, old, _ = draw(rng, (200, 2_000), 0.0)
    logit = np.log(old / (1 - old))
    target = 1.05 * champion_brier()
    shift = brentq(lambda s: brier(label, expit(logit + s)).mean() - target, 0.0, 3.0)
    matured_rows = np.array([matured(at + window, at, as_of).sum() for as_of in looks])
    series, arrivals = [], []
    for _ in range(reps):
        label, old, _ = draw(rng, (1, n), 0.0)
        d = (brier(label, old) - brier(label, expit(np.log(old / (1 - old)) + shift)))[0]
        known = at + np.where(label[0] > 0, 0.0, rng.uniform(0.5, 1.0, n) * window)
        series.append(d)
        arrivals.append(d[np.argsort(known)])
    scatter, as_they_come = foretold(seed, 0.05), np.linspace(50, n, 200).astype(int)
    promoted = ever(quality(np.stack(series), -margin, matured_rows, scatter), RISK)
    naive = ever(quality(np.stack(arrivals), -margin, as_they_come, scatter), RISK)
    return [
        share_claim("label delay that depends on the class: false promotions", promoted, 0.0),
        Claim("the same, labels used as they arrive", "for comparison", f"{np.mean(naive):.4f}", None),
    ]


def end_to_end(reps: int, seed: int, n: int = 10_000, every: int = 250) -> list[Claim]:
    worse = [_rollout(np.random.default_rng([seed, 0, rep]), 0.05, n, every) for rep in range(reps)]
    equal = [_rollout(np.random.default_rng([seed, 1, rep]), 0.0, n, every) for rep in range(reps)]
    back = np.array([action == "ROLLBACK" for action, _, _ in worse])
    served = float(np.median([requests for _, requests, _ in worse]))
    promoted = np.array([action == "PROMOTE" for action, _, _ in equal])
    pairs = np.median([float(pairs) for action, _, pairs in equal if action == "PROMOTE"] or [math.inf])
    return [
        share_claim("end to end, +5 % Brier: rolled back within 10,000 pairs", back, 0.99, above=True),
        Claim(
            "end to end, +5 % Brier: median requests served by the challenger", "< 100", f"{served:.0f}", served < 100
        ),
        share_claim("end to end, equal model: promoted within 10,000 pairs", promoted, 0.95, above=True),
        Claim("end to end, equal model: median pairs to promotion", "for comparison", f"{pairs:.0f}", None),
    ]


def _rollout(rng: np.random.Generator, rise: float, n: int, every: int) -> tuple[str, int, int]:
    """One rollout through `judge` itself, a look every so many pairs: final action, requests served, pairs."""
    ramp_rules = rules()
    label, old, new = (values[0] for values in draw(rng, (1, n), rise))
    d, place = brier(label, new) - brier(label, old), rng.random(n)
    failed, slow = rng.random((2, n)) < RATE, rng.random((2, n)) < SLOW
    share, stage, since = np.zeros(n), 0, 0
    splits: list[SplitCount] = []
    for end in range(every, n + 1, every):
        now = ramp_rules.stages[stage].share
        share[end - every : end] = now
        arm = place[:end] < share[:end]
        served = int(arm[since:].sum())
        here = SplitCount(now, served, end - since - served)
        evidence = Evidence(
            champion_brier(),
            Exposure(stage, served, float(end - since), end - since, float(end)),
            Blocks(tuple(range(end)), d[:end].copy(), np.ones(end, int), label[:end].astype(int)),
            foretold=foretold(2013, rise),
            horizon=HORIZON,
            differences=d[:end].copy(),
            errors=_events(failed[:, :end]),
            slow=_events(slow[:, :end]),
            trials=end,
            failures=int(failed[0, :end].sum()),
            split=(*splits, here),
        )
        answer = judge_evidence(evidence, ramp_rules)
        if answer.action == "ADVANCE":
            stage, since = stage + 1, end
            splits.append(here)
        elif answer.action != "HOLD":
            return answer.action.value, int(arm.sum()), end
    return "HOLD", int(arm.sum()), n


def _events(happened: Array) -> Events:
    """Events (2, N) of challenger and champion, which both score every request; common events are no evidence."""
    new, old = happened[0] & ~happened[1], happened[1] & ~happened[0]
    count = int(new.sum() + old.sum())
    return Events(np.full(count, 0.5), np.arange(count) < new.sum())


def sample_ratio(reps: int, seed: int, n: int = 150_000) -> list[Claim]:
    """Entities of a ramp 5, 25, 50 % (a fifth, a fifth, three fifths of them), looked at 200 times."""
    rng, stages = np.random.default_rng(seed), ((0.05, n // 5), (0.25, n // 5), (0.5, 3 * n // 5))
    alarms = {lost: _split_paths(rng, many, stages, lost) for lost, many in ((0.0, 20 * reps), (0.04, reps))}
    bound = math.log(1 / 0.001)
    times = first(alarms[0.04], bound, np.arange(1, 201) * n // 200)
    return [
        share_claim("sample ratio: false alarm", ever(alarms[0.0], bound), 0.001),
        share_claim(
            f"sample ratio: 4 % of the challenger's entities lost, found within {n} entities",
            np.isfinite(times), 0.95, above=True,
        ),
        Claim("sample ratio: median entities until then", "for comparison", f"{np.median(times):.0f}", None),
    ]  # fmt: skip


def _split_paths(rng: np.random.Generator, reps: int, stages: tuple[tuple[float, int], ...], lost: float) -> Array:
    """`eprocess.log_e_split` at 200 looks spread over the stages."""
    out, before, looks = [], np.zeros(reps), sum(size for _, size in stages) // 200
    for share, size in stages:
        steps = size // looks
        p = share * (1 - lost) / (1 - share * lost)
        x = np.cumsum(rng.binomial(looks, p, (reps, steps)), axis=1)
        y = np.arange(1, steps + 1) * looks - x
        a, b = 200 * share, 200 * (1 - share)
        log_e = betaln(a + x, b + y) - betaln(a, b) - x * math.log(share) - y * math.log1p(-share)
        out.append(before[:, None] + log_e)
        before = out[-1][:, -1]
    return np.concatenate(out, axis=1)


SIMULATIONS = (identical, at_delta, speed, ramp, label_delay, end_to_end, sample_ratio)
