"""What gates read besides the metrics of an evaluation: its worst slices, what it is about, what the graph costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd

from pipelines.artifacts.evaluation import Evaluation, Slice
from pipelines.artifacts.manifest import Manifest, Origin, Windows
from pipelines.artifacts.model import Model
from pipelines.artifacts.scorer import ModelScorer
from pipelines.errors import FlightdeckError
from pipelines.metric_names import LATENCY, SIZE, WORST

CALLS = 200  # single requests that are timed
WORSE: Mapping[str, Callable[[Iterable[float]], float]] = {
    **dict.fromkeys(("roc_auc", "pr_auc", "skill"), min),
    **dict.fromkeys(("log_loss", "brier", "calibration_error", "calibration_gap"), max),
}


def slice_facts(evaluation: Evaluation, columns: Iterable[str], min_slice: int) -> dict[str, float | None]:
    """`worst_slice_METRIC` over all slices of at least `min_slice` rows.

    None where one of the columns has no slices or none of so many rows, the slices of a column do not add up to the
    evaluation's rows, or a slice that counts has no finite value: the worst slice is then not known.
    """
    slices = evaluation.slices
    whole = all(_adds_up(slices.get(column), evaluation.rows) for column in {*columns, *slices})
    large = {name: [e for e in slices[name] or () if e.rows >= min_slice] for name in slices} if whole else {}
    counted = [e for entries in large.values() for e in entries] if all(large.get(name) for name in columns) else []
    return {f"{WORST}{metric}": _worst(metric, [entry.metric(metric) for entry in counted]) for metric in WORSE}


def _adds_up(entries: Sequence[Slice] | None, rows: int | None) -> bool:
    return bool(entries) and sum(entry.rows for entry in entries or ()) == rows


def _worst(metric: str, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return WORSE[metric](known) if known and len(known) == len(values) else None


def training_set_problem(model: Model, manifest: Manifest) -> str | None:
    """Why a training set is not the one that a model was trained on; None where it is."""
    trained, held = model.card.training_set, manifest.origin
    differing = [name for name in Origin.model_fields if getattr(trained, name) != getattr(held, name)]
    if not differing:
        return None
    return f"its training set is not as it was when it was trained ({', '.join(differing)} changed); train it again"


def window_problem(
    evaluation: Evaluation,
    windows: Windows,
    days: pd.Series[Any],
    today: date,
    embargo: timedelta,
) -> str | None:
    """Why an evaluation is not about fresh rows that its model could not have seen; None where it is.

    Args:
        windows: those that it was trained for, by name (train, validation, test).
        days: DAY of the scored rows.
        today: the local day on which the knowledge of the candidates ends.
        embargo: between the last day that was learnt from and the window.
    """
    if evaluation.window is None:
        return "its evaluation names no window; evaluate the model again"
    start, end = evaluation.window
    if not start < end:
        return f"its evaluation's window {start} to {end} is empty"
    if end != today:
        return f"its evaluation's window ends on {end}, but as_of is {today}: evaluate on the days before as_of"
    if (trained := windows.get("test")) != (start, end):
        shown = " to ".join(map(str, trained)) if trained else "none"
        return f"its evaluation's window is {start} to {end}, but it was trained for {shown}"
    learnt = [span[1] for name, span in windows.items() if name != "test"]
    if not learnt or max(learnt) + embargo > start:
        ended = max(learnt) if learnt else "an unknown day"
        return f"its window starts on {start}; training ended on {ended}, and the embargo is {embargo.days} days"
    if not len(days) or len(days) != evaluation.rows:
        return f"its evaluation counts {evaluation.rows} rows, but {len(days)} were scored"
    seen = pd.to_datetime(days.astype(str))
    if seen.min() < pd.Timestamp(start) or seen.max() >= pd.Timestamp(end):
        return f"its scored rows lie between {days.min()} and {days.max()}, outside of its window {start} to {end}"
    return None


def graph_facts(model: Model, scored: pd.DataFrame, metrics: Iterable[str]) -> dict[str, float | None]:
    """The size of the graph in bytes and, only if a gate asks for it, its latency."""
    timed = {LATENCY: latency_p95_ms(model, scored)} if LATENCY in metrics else {}
    return {SIZE: float(len(model.graph)), **timed}


def latency_p95_ms(model: Model, scored: pd.DataFrame) -> float | None:
    """95 % of single rows are scored by the graph, on one thread, within so many milliseconds; None if none can be."""
    try:
        return ModelScorer.of(model, threads=1).row_latency_ms(scored, CALLS) if len(scored) else None
    except FlightdeckError:
        return None
