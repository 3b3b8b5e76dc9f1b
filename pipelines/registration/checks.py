"""What the gate checks besides the metrics of an evaluation: worst slices, training set, window, size and latency."""

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
from pipelines.blocks import blocks_of
from pipelines.errors import FlightdeckError
from pipelines.metric_names import LATENCY, SIZE, WORST

CALLS = 200  # single requests that are timed
WORSE: Mapping[str, Callable[[Iterable[float]], float]] = {
    **dict.fromkeys(("roc_auc", "pr_auc", "skill"), min),
    **dict.fromkeys(("log_loss", "brier", "calibration_error", "calibration_gap"), max),
}


def worst_slice_metrics(evaluation: Evaluation, columns: Iterable[str], min_slice: int) -> dict[str, float | None]:
    """`worst_slice_METRIC` over all slices of at least `min_slice` rows.

    A metric is None, since its worst slice is unknown, where a column has no slices or none of that size, the slices
    of a column do not add up to the evaluation's rows, or one of the large slices has no finite value.
    """
    slices = evaluation.slices
    whole = all(_adds_up(slices.get(column), evaluation.rows) for column in {*columns, *slices})
    large = {name: [e for e in slices[name] or () if e.rows >= min_slice] for name in slices} if whole else {}
    entries_that_count = (
        [e for entries in large.values() for e in entries] if all(large.get(name) for name in columns) else []
    )
    return {
        f"{WORST}{metric}": _worst(metric, [entry.metric(metric) for entry in entries_that_count]) for metric in WORSE
    }


def _adds_up(entries: Sequence[Slice] | None, rows: int | None) -> bool:
    return bool(entries) and sum(entry.rows for entry in entries or ()) == rows


def _worst(metric: str, values: list[float | None]) -> float | None:
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return WORSE[metric](numbers) if numbers and len(numbers) == len(values) else None


def training_set_problem(model: Model, manifest: Manifest) -> str | None:
    """Why a training set is not the one that the model was trained on; None where it is."""
    recorded, current = model.card.training_set, manifest.origin
    differing = [name for name in Origin.model_fields if getattr(recorded, name) != getattr(current, name)]
    if not differing:
        return None
    return f"its training set has changed since training ({', '.join(differing)}); train it again"


def window_problem(
    evaluation: Evaluation,
    windows: Windows,
    days: pd.Series[Any],
    today: date,
    embargo: timedelta,
) -> str | None:
    """Why an evaluation does not rest on the newest days, which its model has not seen; None where it does.

    Args:
        windows: of the model's training set, by name (train, validation, test).
        days: DAY of the scored rows.
        today: the local day of the candidates' `as_of`.
        embargo: between the last day of training or validation and the window.
    """
    if evaluation.window is None:
        return "its evaluation names no window; evaluate the model again"
    start, end = evaluation.window
    if not start < end:
        return f"its evaluation's window {start} to {end} is empty"
    if end != today:
        return f"its evaluation's window ends on {end}, but as_of is {today}: evaluate on the days before as_of"
    if (test_window := windows.get("test")) != (start, end):
        expected = " to ".join(map(str, test_window)) if test_window else "none"
        return f"its evaluation's window is {start} to {end}, but it was trained for {expected}"
    ends = [span[1] for name, span in windows.items() if name != "test"]
    if not ends or max(ends) + embargo > start:
        last_day = max(ends) if ends else "an unknown day"
        return f"its window starts on {start}; training ended on {last_day}, and the embargo is {embargo.days} days"
    if not len(days) or len(days) != evaluation.rows:
        return f"its evaluation counts {evaluation.rows} rows, but {len(days)} were scored"
    scored_days = pd.to_datetime(days.astype(str))
    if scored_days.min() < pd.Timestamp(start) or scored_days.max() >= pd.Timestamp(end):
        return f"its scored rows lie between {days.min()} and {days.max()}, outside its window {start} to {end}"
    return None


def blocks_problem(scored: pd.DataFrame, least: int) -> str | None:
    """Why an evaluation rests on too few blocks; None where it does not.

    Rows of a block share their losses: of few blocks the metrics are chance, and resamples tell too narrow intervals.
    """
    blocks = blocks_of(scored).nunique()
    if blocks >= least:
        return None
    return (
        f"its labelled test rows lie in {blocks} blocks (days, unless the use case declares others), and "
        f"evaluation.min_blocks asks for {least}; choose longer splits.test_days"
    )


def graph_metrics(model: Model, scored: pd.DataFrame, metrics: Iterable[str]) -> dict[str, float | None]:
    """The size of the graph in bytes and, only if `metrics` names it, its latency."""
    latency = {LATENCY: latency_p95_ms(model, scored)} if LATENCY in metrics else {}
    return {SIZE: float(len(model.graph)), **latency}


def latency_p95_ms(model: Model, scored: pd.DataFrame) -> float | None:
    """95th percentile of the milliseconds that the graph takes for one row on one thread; None if it cannot score."""
    try:
        return ModelScorer.of(model, threads=1).row_latency_ms(scored, CALLS) if len(scored) else None
    except FlightdeckError:
        return None
