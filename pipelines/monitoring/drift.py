"""Drift of the model's inputs and scores, and the quality of its scores, as Evidently reports them.

The distances do not depend on the sample's size, as p-values would: the Wasserstein distance in standard deviations of
the reference for numbers, the Jensen-Shannon distance for categories. A column has drifted from 0.1 on, the default of
Evidently for both.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from pipelines.monitoring.performance import has_both_classes, labelled
from pipelines.monitoring.predictions import SCORE
from pipelines.usecase import LABEL, ModelInputs

NUMERIC_METHOD, CATEGORICAL_METHOD, THRESHOLD = "wasserstein", "jensenshannon", 0.1
SEED = 0


@dataclass(frozen=True)
class ColumnDrift:
    """One column.

    Attributes:
        distance: None where one side, or both, has no value at all.
        drifted: the distance reaches the threshold, or only one side has any value.
    """

    column: str
    method: str
    distance: float | None
    drifted: bool

    def as_json(self) -> dict[str, Any]:
        return {"method": self.method, "distance": self.distance, "threshold": THRESHOLD, "drifted": self.drifted}


@dataclass(frozen=True)
class Drift:
    columns: tuple[ColumnDrift, ...]
    html: bytes

    @property
    def drifted(self) -> list[str]:
        return [column.column for column in self.columns if column.drifted]

    def share(self, among: Sequence[str]) -> float:
        """Share of the columns `among` that drifted."""
        return len(set(self.drifted) & set(among)) / len(among)


def sample(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """At most so many rows, in their order, drawn with a fixed seed."""
    return frame if len(frame) <= rows else frame.sample(rows, random_state=SEED).sort_index()


def comparable(frame: pd.DataFrame, inputs: ModelInputs) -> pd.DataFrame:
    """The columns that are compared: numbers as float64, categories as text."""
    numeric = frame[[*inputs.numeric, SCORE]].astype("float64")
    return pd.concat([numeric, frame[list(inputs.categorical)].astype("object")], axis=1)


def measure_drift(current: pd.DataFrame, reference: pd.DataFrame, inputs: ModelInputs) -> Drift:
    """Compare every model input and the score, column by column.

    Args:
        current: rows of the monitored window.
        reference: rows of the model's test window.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset

    sides = [comparable(frame, inputs) for frame in (current, reference)]
    names = list(sides[0].columns)
    # Evidently raises on a column without any value.
    filled = [name for name in names if all(side[name].notna().any() for side in sides)]
    numeric = [name for name in filled if name not in inputs.categorical]
    categorical = [name for name in filled if name in inputs.categorical]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=categorical)
    preset = DataDriftPreset(
        columns=[name for name in filled if name != SCORE],  # its share of drifted columns is of the model's inputs
        num_method=NUMERIC_METHOD,
        cat_method=CATEGORICAL_METHOD,
        num_threshold=THRESHOLD,
        cat_threshold=THRESHOLD,
    )
    datasets = [Dataset.from_pandas(side[filled], data_definition=definition) for side in sides]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = [ValueDrift(column=SCORE, method=NUMERIC_METHOD, threshold=THRESHOLD)] if SCORE in filled else []
        snapshot = Report([preset, *score], include_tests=False).run(*datasets)
        html = snapshot.get_html_str(as_iframe=False)
    distances = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift")
    }
    columns = []
    for name in names:
        method = CATEGORICAL_METHOD if name in inputs.categorical else NUMERIC_METHOD
        distance = distances[name] if name in filled else None
        one_sided = bool(sides[0][name].notna().any() != sides[1][name].notna().any())
        columns.append(ColumnDrift(name, method, distance, one_sided if distance is None else distance >= THRESHOLD))
    return Drift(tuple(columns), html.encode())


def headed(page: bytes, heading: str, lines: Sequence[str]) -> bytes:
    """An Evidently page that says at its top what it is about."""
    text = "".join(f"<p style='margin:4px 0'>{escape(line)}</p>" for line in lines)
    block = f"<div style='font-family:sans-serif;padding:16px 24px'><h2>{escape(heading)}</h2>{text}</div>"
    body = page.index(b">", page.index(b"<body")) + 1
    return page[:body] + block.encode() + page[body:]


def quality_html(current: pd.DataFrame, reference: pd.DataFrame) -> bytes | None:
    """Evidently's classification report over the labelled rows; None unless both sides have both classes and scores."""
    if not all(has_both_classes(side) and side[SCORE].notna().all() for side in (current, reference)):
        return None
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
        html: str = report.run(*datasets).get_html_str(as_iframe=False)
    return html.encode()
