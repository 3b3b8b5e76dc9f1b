"""The bars of the judge on independent rows, with fewer repetitions than benchmarks/judge.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.judge_claims import RISK, Claim, ever
from benchmarks.judge_days import CANARY, Flights
from benchmarks.judge_rows import (
    at_delta,
    end_to_end,
    identical,
    label_delay,
    ramp,
    sample_ratio,
    speed,
)
from benchmarks.judge_rules import DAYS

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


@pytest.mark.parametrize("setting", [DAYS, CANARY], ids=["days", "canary"])
def test_days_are_safe_where_rows_that_share_a_storm_are_not(setting: dict[str, object], tmp_path: object) -> None:
    rng, days, per_day = np.random.default_rng(5), 120, 200
    storm = rng.normal(0, 0.006, days)
    day = np.repeat(np.arange(days), per_day)
    d = storm[day] + rng.normal(0, 0.04, days * per_day)
    file = f"{tmp_path}/losses.npz"
    scores: dict[str, Any] = dict.fromkeys(("mlp_1", "mlp_2", "trees", "trees_old"), np.full(len(d), 0.2))
    np.savez(file, label=np.zeros(len(d)), day=day, known_at=day, **scores)
    drawn = Flights(file, 300, 1, 60)  # type: ignore[arg-type]
    d = d - drawn.means(d).mean()
    assert ever(drawn.rollback(d, setting), RISK).mean() <= 0.05
    assert ever(drawn.rollback(d, setting, blocks=False), RISK).mean() > 0.15
    assert ever(drawn.promotion(d + 0.003, 0.003, setting), RISK).mean() <= 0.05
    assert ever(drawn.promotion(d + 0.003, 0.003, setting, blocks=False), RISK).mean() > 0.15
