"""Evidence is valid at any time, and does not depend on batching."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.judge_claims import ratio_paths
from pipelines.judge import eprocess as ep

differences = st.lists(st.floats(-1, 1, allow_nan=False), max_size=60)
limits = st.floats(-0.9, 0.9)


@given(differences, limits, st.integers(0, 60))
def test_batches_add_up(d: list[float], limit: float, cut: int) -> None:
    z, m = (1 + np.array(d, dtype=float)) / 2, (1 + limit) / 2
    added = ep.mixture(ep.bet_sums(z[:cut], m) + ep.bet_sums(z[cut:], m))
    assert added == pytest.approx(ep.log_e_mean(z, m), abs=1e-9)


@given(st.lists(st.integers(0, 4), max_size=40), st.floats(0.05, 1))
def test_counts_of_values_equal_repeated_values(values: list[int], m: float) -> None:
    z, counts = np.unique(np.array(values, dtype=float) / 4, return_counts=True)
    assert ep.log_e_mean(z, m, counts) == pytest.approx(ep.log_e_mean(np.array(values) / 4, m), abs=1e-9)


def test_no_data_are_no_evidence() -> None:
    nothing = [
        ep.log_e_ratio([], []),
        ep.log_e_ratio_below([], [], 1.5),
        ep.log_e_rate_below(0, 0, 0.01),
        ep.log_e_split([], 200),
        ep.log_e_split([(0.05, 0, 0)], 200),
    ]
    assert nothing == pytest.approx([0.0] * 5, abs=1e-12)
    assert ep.rate_upper_bound(0, 0, 0.05) == 1


@pytest.mark.parametrize(("low", "high", "m"), [(0, 1, 0.3), (0.1, 0.6, 0.2), (0.4, 0.6, 0.5), (0, 0.9, 0.85)])
@pytest.mark.parametrize("n", [1, 4, 8])
def test_the_expectation_of_evidence_is_one_under_two_point_nulls(low: float, high: float, m: float, n: int) -> None:
    p = (m - low) / (high - low)
    mean = sum(
        p ** sum(ups) * (1 - p) ** (n - sum(ups)) * math.exp(ep.log_e_mean([high if up else low for up in ups], m))
        for ups in product((0, 1), repeat=n)
    )
    assert mean == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("truth", [0.3, 1.0])
@pytest.mark.parametrize("shares", [(0.05, 0.25, 0.5), (0.5,) * 8, (0.1, 0.9, 1.0, 0.0)])
def test_the_expectation_of_rate_evidence_is_at_most_one(truth: float, shares: tuple[float, ...]) -> None:
    total = 0.0
    for hits in product((0, 1), repeat=len(shares)):
        q = [p * truth / (1 - p + p * truth) for p in shares]
        chance = math.prod(one if hit else 1 - one for one, hit in zip(q, hits, strict=True))
        total += chance * math.exp(ep.log_e_ratio(shares, hits))
    assert total <= 1 + 1e-9 and (truth < 1 or total == pytest.approx(1))


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_expectation_of_split_evidence_is_one(share: float) -> None:
    n = 30
    chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    evidence = [math.exp(ep.log_e_split([(share, k, n - k)], 200)) for k in range(n + 1)]
    assert np.dot(chances, evidence) == pytest.approx(1, abs=1e-9)


def test_a_bound_of_a_rate_lies_where_the_evidence_reaches_one_over_alpha() -> None:
    assert ep.log_e_rate_below(3, 2_000, ep.rate_upper_bound(3, 2_000, 0.05)) == pytest.approx(math.log(20), abs=1e-6)


def test_a_rate_ratio_is_detected_in_both_directions_and_not_at_full_share() -> None:
    half, hit = np.full(300, 0.5), np.arange(300) % 4 > 0
    assert ep.log_e_ratio(half, hit) > math.log(20) > 0 > ep.log_e_ratio(half, ~hit)
    assert ep.log_e_ratio_below(half, ~hit, 1.5) > math.log(20) > 0 > ep.log_e_ratio_below(half, hit, 1.5)
    assert ep.log_e_ratio(np.ones(300), hit) == ep.log_e_ratio(np.zeros(300), hit) == pytest.approx(0, abs=1e-12)


def test_split_evidence_multiplies_over_stages() -> None:
    one, two = (0.05, 30, 900), (0.25, 300, 800)
    both = ep.log_e_split([one, two], 200)
    assert both == pytest.approx(ep.log_e_split([one], 200) + ep.log_e_split([two], 200))
    assert ep.log_e_split([(0.0, 0, 900), (1.0, 900, 0)], 200) == 0


def test_the_benchmark_computes_the_same_rate_evidence_as_the_judge() -> None:
    rng, looks = np.random.default_rng(2), np.array([1, 40, 100])
    event, hit = rng.random((3, 100)) < 0.3, rng.random((3, 100)) < 0.5
    share = np.repeat([0.05, 0.5], 50)
    ratios = ratio_paths(event, hit, share, looks)
    for row, look in product(range(3), range(3)):
        n, seen = looks[look], event[row, : looks[look]]
        assert ratios[row, look] == pytest.approx(ep.log_e_ratio(share[:n][seen], hit[row, :n][seen]), abs=1e-9)
