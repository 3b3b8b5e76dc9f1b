"""Drift of the model's inputs and scores, column by column.

The distances do not depend on the sample's size, as p-values would: the Wasserstein distance in standard deviations of
the reference for numbers, the Jensen-Shannon distance for categories. A column has drifted from 0.1 on, the default of
Evidently for both. Evidently draws the page, and its distances are reported; a column that it cannot draw is measured
without it (see `distances`), and one that cannot be measured is named with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pipelines.artifacts.summary import ColumnSummary
from pipelines.monitoring.distances import categorical_distance, numeric_distance
from pipelines.monitoring.pages import (
    CATEGORICAL_METHOD,
    MOST_CATEGORIES,
    NUMERIC_METHOD,
    THRESHOLD,
    draw_drift,
    headed,
    quality_html,
)
from pipelines.monitoring.predictions import SCORE
from pipelines.usecase import ModelInputs

__all__ = ["ColumnDrift", "Drift", "comparable", "headed", "measure_drift", "quality_html", "sample"]
SEED = 0


@dataclass(frozen=True)
class ColumnDrift:
    """One column.

    Attributes:
        distance: finite; None where one side, or both, has no value at all.
        drifted: the distance reaches the threshold, or only one side has any value.
        why: why there is no distance.
    """

    column: str
    method: str
    distance: float | None
    drifted: bool
    why: str | None = None

    @property
    def is_measured(self) -> bool:
        """Whether it is known if the column drifted; one that has values on one side only has drifted."""
        return self.distance is not None or self.drifted

    @property
    def summary(self) -> ColumnSummary:
        why = {} if self.why is None else {"why": self.why}
        return ColumnSummary(
            method=self.method, distance=self.distance, threshold=THRESHOLD, drifted=self.drifted, **why
        )


@dataclass(frozen=True)
class Drift:
    """All columns, and a page about those that can be drawn.

    Attributes:
        undrawn: columns that were measured but are not on the page, and why.
        grouped: columns whose rare categories are grouped into one on the page.
    """

    columns: tuple[ColumnDrift, ...]
    html: bytes
    undrawn: Mapping[str, str] = field(default_factory=dict)
    grouped: tuple[str, ...] = ()

    @property
    def drifted(self) -> list[str]:
        return [column.column for column in self.columns if column.drifted]

    @property
    def unmeasured(self) -> dict[str, str]:
        """Columns for which it is unknown whether they drifted, and why."""
        return {column.column: column.why or "" for column in self.columns if not column.is_measured}

    @property
    def left_out(self) -> dict[str, str]:
        """The parts that the page does not show, and why."""
        few = f"it has more than {MOST_CATEGORIES} categories; all of them are measured"
        return {
            **{f"picture of {name}": why for name, why in self.undrawn.items()},
            **{f"rarer categories of {name}": few for name in self.grouped},
        }

    def share(self, among: Sequence[str]) -> float | None:
        """Share of drifted columns among the measured ones of `among`; None if none was measured."""
        comparable_columns = set(among) - set(self.unmeasured)
        return len(set(self.drifted) & comparable_columns) / len(comparable_columns) if comparable_columns else None


def sample(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """At most `rows` rows, in their order, drawn with a fixed seed."""
    return frame if len(frame) <= rows else frame.sample(rows, random_state=SEED).sort_index()


def comparable(frame: pd.DataFrame, inputs: ModelInputs) -> pd.DataFrame:
    """The compared columns: numbers as float64, categories as text; a number that is not finite counts as missing."""
    numeric = frame[[*inputs.numeric, SCORE]].astype("float64")
    texts = {name: frame[name].astype("object").map(str, na_action="ignore") for name in inputs.categorical}
    return numeric.where(np.isfinite(numeric)).assign(**texts)


def measure_drift(current: pd.DataFrame, reference: pd.DataFrame, inputs: ModelInputs) -> Drift:
    """Compare every model input and the score, each column independently of the others.

    Args:
        current: rows of the monitored window.
        reference: rows of the model's test window.
    """
    ours, theirs = (comparable(frame, inputs) for frame in (current, reference))
    names = list(map(str, ours.columns))
    with_values = [name for name in names if ours[name].notna().any() and theirs[name].notna().any()]
    page = draw_drift(ours[with_values], theirs[with_values], inputs.categorical)
    columns = []
    for name in names:
        categorical = name in inputs.categorical
        method = CATEGORICAL_METHOD if categorical else NUMERIC_METHOD
        here, there = ours[name].dropna(), theirs[name].dropna()
        if name not in with_values:
            columns.append(ColumnDrift(name, method, None, here.empty != there.empty, _silence(here, there)))
            continue
        distance = None if name in page.grouped else page.distances.get(name)
        if distance is None:
            distance = categorical_distance(here, there) if categorical else numeric_distance(here, there)
        columns.append(ColumnDrift(name, method, distance, distance >= THRESHOLD))
    return Drift(tuple(columns), page.html, page.undrawn, page.grouped)


def _silence(current: pd.Series[Any], reference: pd.Series[Any]) -> str:
    where = [side for side, values in (("window", current), ("reference", reference)) if values.empty]
    return f"it has no value in the {' and none in the '.join(where)}"
