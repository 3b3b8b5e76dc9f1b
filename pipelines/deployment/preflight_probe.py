"""The process that preflight starts: it reads a question on stdin and answers on stdout. Imports only what serves."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from pipelines.artifacts.evaluation import Evaluation, read_scored
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.errors import FlightdeckError
from pipelines.store import Store

WARM = 5  # single requests that are not timed


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Score a seeded sample of recorded requests, together and one by one."""
    store = Store(asked["store"])
    recorded = read_scored(store, asked["evaluation_uri"], Evaluation.read(store, asked["evaluation_uri"]))
    drawn = np.random.default_rng(asked["seed"]).permutation(len(recorded))[: asked["sample"]]
    rows = recorded.iloc[np.sort(drawn)].reset_index(drop=True)
    started = time.perf_counter()
    scorer = load_scorer(store, ModelRef(asked["model_uri"], asked["sha256"]), threads=1)
    scores = scorer.score(rows)
    loaded = time.perf_counter() - started
    times = []
    for at in [*range(min(WARM, len(rows))), *range(len(rows))]:
        row = rows.iloc[[at]]
        began = time.perf_counter()
        scorer.score(row)
        times.append(1000 * (time.perf_counter() - began))
    differences = np.abs(scores - rows["score"].to_numpy(dtype=np.float64))
    finite = bool(np.isfinite(scores).all())
    return {
        "rows": len(rows),
        "sha256": scorer.model.sha256,
        "finite": finite,
        "in_range": bool(((scores >= 0) & (scores <= 1)).all()),
        "distinct": len(np.unique(scores)),
        "max_difference": float(differences.max()) if finite and len(rows) else 0.0,
        "p95_ms": float(np.quantile(times[WARM:] or [0.0], 0.95)),
        "load_seconds": round(loaded, 3),
    }


def main() -> int:
    try:
        print(json.dumps(answer(json.load(sys.stdin))))
    except FlightdeckError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
