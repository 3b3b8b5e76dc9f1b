"""How long a run took is one piece of evidence, however many requests it answered."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.deployment.rows import read_rows
from pipelines.instants import micros
from pipelines.judge import Evidence
from pipelines.records import Batch, Records
from tests.unit.test_deployment_evidence import BEGAN, evidence_of, judgement_of, plan

PLAN = plan(4, "shadow")
RUNS = 120


def run(number: int, rows: int) -> Batch:
    """A run of so many requests; the champion is slow in every tenth, the challenger in every fourth."""
    names = [f"{number}-{row}" for row in range(rows)]
    at = BEGAN + timedelta(seconds=number)
    each: dict[str, Any] = {
        "ids": names,
        "entities": [f"pump {name}" for name in names],
        "blocks": [at.date().isoformat()] * rows,
        "closes_at": [micros(BEGAN + timedelta(days=1))] * rows,
        "requests": ["{}"] * rows,
        "inputs": [None] * rows,
        "served": ["1"] * rows,
        "score": [0.2] * rows,
        "scores": {"1": [0.2] * rows, "2": [0.201] * rows},
        "decisions": [False] * rows,
        "lacks": [None] * rows,
    }
    times = {"1": 90.0 if number % 10 == 3 else 1.0, "2": 90.0 if number % 4 == 1 else 1.0}
    return Batch(plan=PLAN.version, share=PLAN.share, at=at, layout=None, milliseconds=times, errors={}, **each)


def gathered_evidence(folder: Path, rows: int) -> Evidence:
    """The evidence from the log of the same runs with so many requests each."""
    log = Records(f"sqlite:///{folder / f'{rows}.db'}").predictions("pumps")
    for number in range(RUNS):
        log.append_batch(run(number, rows))
    return evidence_of([PLAN], read_rows(log, [PLAN.version], BEGAN + timedelta(days=9)))


def test_the_judge_takes_a_gathered_run_for_one_slow_request(tmp_path: Path) -> None:
    alone, gathered = gathered_evidence(tmp_path, 1), gathered_evidence(tmp_path, 16)
    assert gathered.trials == 16 * alone.trials == 16 * RUNS
    slow = [(n % 4 == 1, n % 10 == 3) for n in range(RUNS)]
    assert alone.slow.challenger.sum() == slow.count((True, False))
    assert (~alone.slow.challenger).sum() == slow.count((False, True))
    assert np.array_equal(gathered.slow.challenger, alone.slow.challenger)
    assert np.array_equal(gathered.slow.share, alone.slow.share)
    assert judgement_of(gathered).log_e["slow"] == judgement_of(alone).log_e["slow"]
