"""The error bounds of the judge on independent rows, with fewer repetitions than benchmarks/judge.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from benchmarks.judge_claims import Claim
from benchmarks.judge_flights import simulate
from benchmarks.judge_rows import (
    at_delta,
    end_to_end,
    identical,
    label_delay,
    ramp,
    sample_ratio,
    speed,
)

Simulation = Callable[[int, int], list[Claim]]
REPS: dict[Simulation, tuple[int, int]] = {  # in `make test`, and in `make soak`
    identical: (300, 300),
    at_delta: (300, 300),
    speed: (60, 200),
    ramp: (300, 300),
    label_delay: (60, 60),
    end_to_end: (5, 20),
    sample_ratio: (300, 300),
}
CASES = [
    pytest.param(simulation, reps, id=f"{simulation.__name__}-{reps}", marks=[pytest.mark.soak] * number)
    for simulation, each in REPS.items()
    for number, reps in enumerate(dict.fromkeys(each))
]


@pytest.mark.parametrize(("simulation", "reps"), CASES)
def test_every_bar_is_met(simulation: Simulation, reps: int) -> None:
    claims = simulation(reps, 2013)
    assert claims and [claim for claim in claims if claim.met is False] == []


def test_days_are_safe_where_rows_that_share_a_storm_are_not(tmp_path: Path) -> None:
    """Losses of one day share that day's weather; both models are equal."""
    rng, per_day, days = np.random.default_rng(5), 150, np.arange("2013-05-01", "2013-12-01", dtype="datetime64[D]")
    day = np.repeat(days.astype(int), per_day)
    storm = np.repeat(rng.normal(0, 0.7, len(days)), per_day)
    label = (rng.random(len(day)) < expit(-1.2 + storm)).astype(float)
    scores = {
        name: expit(-1.2 + shift + rng.normal(0, 0.2, len(day)))
        for name, shift in {"trees": 0.2, "mlp_1": -0.2, "mlp_2": -0.2}.items()
    }
    file = tmp_path / "scores_flight_delay_drawn.npz"
    np.savez(file, label=label, day=day, known_at=day, **scores)
    claims = list(simulate(file, 300, 1, (1, 7)))
    rates = [claim for claim in claims if "false" in claim.claim and claim.bar == "<= 0.05"]
    assert len(rates) == 6 and all(claim.met for claim in rates)
    assert next(claim for claim in claims if "ROWS" in claim.claim).met, "with rows as blocks the bound is exceeded"
    assert next(claim for claim in claims if "inverted" in claim.claim).met
