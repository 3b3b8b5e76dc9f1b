"""The process that preflight starts: it reads a question on stdin and answers on stdout. Imports only the scorer."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from pipelines.artifacts.evaluation import Evaluation, further_column, read_scored
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.errors import FlightdeckError
from pipelines.json_text import JsonObject
from pipelines.store import Store

WARM = 5  # single requests that are not timed


def answer(question: JsonObject) -> JsonObject:
    """Score a seeded sample of recorded requests, together and one by one."""
    store = Store(question["store"])
    scored = read_scored(store, question["evaluation_uri"], Evaluation.read(store, question["evaluation_uri"]))
    sample = np.random.default_rng(question["seed"]).permutation(len(scored))[: question["sample"]]
    rows = scored.iloc[np.sort(sample)].reset_index(drop=True)
    load_began = time.perf_counter()
    scorer = load_scorer(store, ModelRef(question["model_uri"], question["sha256"]), threads=1)
    scores, further = scorer.score_all(rows)
    outputs = np.column_stack([scores, further])
    load_seconds = time.perf_counter() - load_began
    times = []
    for at in [*range(min(WARM, len(rows))), *range(len(rows))]:
        row = rows.iloc[[at]]
        began = time.perf_counter()
        scorer.score(row)
        times.append(1000 * (time.perf_counter() - began))
    recorded = rows[["score", *map(further_column, scorer.further)]].to_numpy(dtype=np.float64)
    differences = np.abs(outputs - recorded)
    finite = bool(np.isfinite(outputs).all())
    return {
        "rows": len(rows),
        "sha256": scorer.model.sha256,
        "finite": finite,
        "in_range": bool(((outputs >= 0) & (outputs <= 1)).all()),
        "distinct": len(np.unique(scores)),
        "max_difference": float(differences.max()) if finite and len(rows) else 0.0,
        "p95_ms": float(np.quantile(times[WARM:] or [0.0], 0.95)),
        "load_seconds": round(load_seconds, 3),
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
