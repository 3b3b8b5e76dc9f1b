"""Evidently's pages. A page or a column that cannot be drawn is left out with the reason, and the rest is drawn."""

from __future__ import annotations

import html
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pipelines.monitoring.distances import squares_fit
from pipelines.monitoring.performance import has_both_classes, labelled
from pipelines.monitoring.predictions import SCORE
from pipelines.usecase import LABEL

NUMERIC_METHOD, CATEGORICAL_METHOD, THRESHOLD = "wasserstein", "jensenshannon", 0.1
MOST_CATEGORIES = 200  # drawn for one column; Evidently's time grows with the square of their number
LONGEST_LABEL = 80
BLANK = b"<!DOCTYPE html><html><head><meta charset='utf-8'></head><body></body></html>"


@dataclass(frozen=True)
class DriftPage:
    """The page with every column that can be drawn.

    Attributes:
        distances: finite, as the page shows them.
        undrawn: columns that are not on the page, and why.
        grouped: columns with rare categories grouped into one, so that the page shows another distance.
    """

    html: bytes
    distances: dict[str, float] = field(default_factory=dict)
    undrawn: dict[str, str] = field(default_factory=dict)
    grouped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A page, or why there is none."""

    html: bytes | None
    why: str | None = None


def draw_drift(current: pd.DataFrame, reference: pd.DataFrame, categorical: Sequence[str]) -> DriftPage:
    """Draw all columns at once; if that fails, try each column alone and leave out those that fail.

    Args:
        current, reference: the same columns, each with at least one value in both; numbers finite or missing.
        categorical: the columns that are categories.
    """
    columns = list(map(str, current.columns))
    texts = [name for name in columns if name in categorical]
    grouped = tuple(name for name in texts if len(_counts(current, reference, name)) > MOST_CATEGORIES)
    labels = {name: drawn_labels(_counts(current, reference, name)) for name in texts}
    sides = [side.assign(**{name: side[name].map(labels[name]) for name in texts}) for side in (current, reference)]
    undrawn = {
        name: "its numbers are too large for Evidently"
        for name in columns
        if name not in texts and not squares_fit(*(side[name].dropna() for side in sides))
    }
    names = [name for name in columns if name not in undrawn]
    try:
        return DriftPage(*_drift_report(sides, names, texts, page=True), undrawn, grouped)
    except Exception:  # an error of Evidently about one column must not prevent the others
        undrawn |= {name: why for name in names if (why := _why_not(sides, name, texts)) is not None}
    names = [name for name in names if name not in undrawn]
    try:
        return DriftPage(*_drift_report(sides, names, texts, page=True), undrawn, grouped)
    except Exception as error:
        return DriftPage(BLANK, {}, {**undrawn, **dict.fromkeys(names, one_line(error))}, grouped)


def drawn_labels(counts: pd.Series[int]) -> dict[str, str]:
    """The label of each category on a page: escaped, shortened where it is long; rare ones share one label.

    Args:
        counts: by category, the most frequent first.
    """
    labels: dict[str, str] = {}
    for value in counts.index[:MOST_CATEGORIES]:
        label = html.escape(value, quote=False) if len(value) <= LONGEST_LABEL else ""
        beginning = html.escape(f"{value[: LONGEST_LABEL // 2]}...", quote=False)
        labels[value] = label or f"{beginning} ({len(value)} characters, number {len(labels) + 1})"
    rare = f"({len(counts) - len(labels)} rarer categories)"
    return {**labels, **dict.fromkeys(counts.index[MOST_CATEGORIES:], rare)}


def _counts(current: pd.DataFrame, reference: pd.DataFrame, name: str) -> pd.Series[int]:
    """How often each category occurs in both samples together, the most frequent first, ties by name."""
    counts: pd.Series[int] = pd.concat([side[name].dropna() for side in (current, reference)]).value_counts()
    return counts.sort_index().sort_values(ascending=False, kind="stable")


def _why_not(sides: Sequence[pd.DataFrame], name: str, texts: Sequence[str]) -> str | None:
    """Why a column cannot be drawn alone; None where it can."""
    try:
        _drift_report(sides, [name], texts, page=False)
    except Exception as error:
        return one_line(error)
    return None


def _drift_report(
    sides: Sequence[pd.DataFrame], names: Sequence[str], texts: Sequence[str], page: bool
) -> tuple[bytes, dict[str, float]]:
    """Evidently's page about these columns (only if `page`), and its distances."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset

    if not names:
        return BLANK, {}
    definition = DataDefinition(
        numerical_columns=[name for name in names if name not in texts],
        categorical_columns=[name for name in names if name in texts],
    )
    inputs = [name for name in names if name != SCORE]  # the preset's share of drifted columns is of the model's inputs
    preset = DataDriftPreset(
        columns=inputs,
        num_method=NUMERIC_METHOD,
        cat_method=CATEGORICAL_METHOD,
        num_threshold=THRESHOLD,
        cat_threshold=THRESHOLD,
    )
    score = ValueDrift(column=SCORE, method=NUMERIC_METHOD, threshold=THRESHOLD)
    metrics: list[Any] = [*([preset] if inputs else []), *([score] if SCORE in names else [])]
    datasets = [Dataset.from_pandas(side[list(names)], data_definition=definition) for side in sides]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Report(metrics, include_tests=False).run(*datasets)
        content = snapshot.get_html_str(as_iframe=False).encode() if page else b""
    distances = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift")
    }
    return content, {name: value for name, value in distances.items() if math.isfinite(value)}


def quality_html(current: pd.DataFrame, reference: pd.DataFrame) -> Page:
    """Evidently's classification report over the labelled rows; none unless both sides have both classes and scores."""
    if not all(has_both_classes(side) and side[SCORE].notna().all() for side in (current, reference)):
        return Page(None, "it needs labels of both classes, and every score, in the window and in the reference")
    try:
        return Page(_quality_report(current, reference))
    except Exception as error:  # a page that fails must not prevent the figures
        return Page(None, one_line(error))


def _quality_report(current: pd.DataFrame, reference: pd.DataFrame) -> bytes:
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.presets import ClassificationQuality

    definition = DataDefinition(
        numerical_columns=[SCORE],
        classification=[BinaryClassification(target=LABEL, prediction_probas=SCORE, pos_label=1)],
    )
    datasets = [
        # Evidently takes a float target for a regression's.
        Dataset.from_pandas(
            labelled(side)[[SCORE, LABEL]].astype({LABEL: int, SCORE: float}), data_definition=definition
        )
        for side in (current, reference)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = Report([ClassificationQuality(conf_matrix=True, pr_curve=True)], include_tests=False)
        content: str = report.run(*datasets).get_html_str(as_iframe=False)
    return content.encode()


def headed(page: bytes, heading: str, lines: Sequence[str]) -> bytes:
    """An Evidently page with a heading and lines at its top."""
    text = "".join(f"<p style='margin:4px 0'>{html.escape(line)}</p>" for line in lines)
    block = f"<div style='font-family:sans-serif;padding:16px 24px'><h2>{html.escape(heading)}</h2>{text}</div>"
    body = page.index(b">", page.index(b"<body")) + 1
    return page[:body] + block.encode() + page[body:]


def one_line(error: Exception, length: int = 200) -> str:
    """The message of an error in one short line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:length]
