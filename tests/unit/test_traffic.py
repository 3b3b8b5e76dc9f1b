"""The split is sticky, monotone, fair, and independent for every rollout."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.traffic import PLACES, place, serves_challenger

GOLDEN = [
    ("rollout-1", "entity-1", 2009416713897018885),
    ("rollout-1", "", 10275024966466959545),
    ("rollout-2", "entity-1", 11774313586991078560),
    ("R", "entity-é", 4337488310845837958),
]
N = 20_000


@pytest.mark.parametrize(("rollout", "entity", "value"), GOLDEN)
def test_hash_positions_are_the_same_in_every_process(rollout: str, entity: str, value: int) -> None:
    assert place(rollout, entity) == value


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_the_challenger_gets_its_share(share: float) -> None:
    hits = sum(serves_challenger("rollout-1", f"entity-{n}", share) for n in range(N))
    assert abs(hits - N * share) <= 3 * math.sqrt(N * share * (1 - share))


@given(st.text(), st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_every_assigned_entity(rollout: str, entity: str, one: float, other: float) -> None:
    small, large = sorted([one, other])
    assert serves_challenger(rollout, entity, large) or not serves_challenger(rollout, entity, small)


@given(st.text(), st.text())
def test_a_share_of_zero_serves_none_and_of_one_all(rollout: str, entity: str) -> None:
    assert not serves_challenger(rollout, entity, 0.0) and serves_challenger(rollout, entity, 1.0)


def test_the_highest_position_is_served_at_a_share_of_one() -> None:
    assert (PLACES - 1) < 1.0 * PLACES


def test_splits_of_different_rollouts_are_uncorrelated() -> None:
    places = np.array([[place(rollout, f"entity-{n}") / PLACES for n in range(N)] for rollout in ("a", "b", "c")])
    off = np.corrcoef(places)[np.triu_indices(3, 1)]
    assert (np.abs(off) <= 3 / math.sqrt(N)).all()
