"""An evaluation folder: metrics.json, and the scored rows, curves and pictures beside it."""

from __future__ import annotations

import io
from datetime import date
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict, Field

from pipelines.artifacts.document import Document, Frozen, Number
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.seal import read_named

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.store import Store

SCORED = "scored.parquet"  # the test frame with its scores and further outputs
CLEANING = "cleaning.json"  # what cleaning changed, by input
CURVES = ("roc.csv", "precision_recall.csv", "calibration.csv", "cost.csv", "importance.csv")
PICTURES = ("curves.png", "cost.png", "importance.png", "slices.png")


class Slice(Frozen):
    """The metrics of the rows that have one value in a column; a metric is None, or absent, where it is undefined.

    Attributes:
        ranked: whether it has rows enough to be compared with others.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number | None]

    value: str
    rows: int = 0
    ranked: bool | None = None

    def metric(self, name: str) -> Number | None:
        return (self.__pydantic_extra__ or {}).get(name)


class WorstSlice(Slice):
    column: str


class AlarmThreshold(Frozen):
    """The score from which a model alarms, the costs behind it, and the share of the test rows that are alarms."""

    value: Number
    costs: dict[str, Number]
    alarms: Number


class BehaviourResult(Frozen):
    """What one behavioural test saw.

    Attributes:
        observed: what it measured; None where it could not run.
    """

    name: str
    kind: str
    status: Literal["passed", "failed", "could_not_run"]
    rows: int
    observed: Number | None = None
    reason: str


class Evaluation(Document):
    """What a model did on the test window of its training set.

    Attributes:
        window: first day, and the day after the last.
        days: that have rows.
        blocks: that were resampled; None where they are the days.
        metrics: None where undefined. `intervals` are of 95 %, from resampled blocks. Those of further outputs have the
            names of `further_metric`.
        slices: by column, the largest first.
        cleaning: by window, its rows and the shares of values that cleaning changed.
    """

    FILE: ClassVar[str] = "metrics.json"
    REMEDY: ClassVar[str] = "evaluate the model again"

    family: str
    model_uri: str
    model_sha256: str
    training_set_uri: str
    window: tuple[date, date] | None = None
    rows: int | None = None
    days: int | None = None
    blocks: int | None = None
    metrics: dict[str, Number | None]
    intervals: dict[str, tuple[Number | None, Number | None]] = Field(default_factory=dict)
    slices: dict[str, tuple[Slice, ...] | None] = Field(default_factory=dict)
    worst_slice: WorstSlice | None = None
    threshold: AlarmThreshold | None = None
    behaviour: tuple[BehaviourResult, ...] = ()
    cleaning: dict[str, dict[str, Number]] = Field(default_factory=dict)

    @property
    def model(self) -> ModelRef:
        """The model that was evaluated."""
        return ModelRef(self.model_uri, self.model_sha256)


FILES = (Evaluation.FILE, CLEANING, *CURVES, *PICTURES)  # all but the scored rows


def further_column(label: str) -> str:
    """The column of the scored frame with the probability of a further label."""
    return f"score.{label}"


def scored_uri(evaluation_uri: str) -> str:
    return f"{evaluation_uri.rstrip('/')}/{SCORED}"


def read_scored(store: Store, evaluation_uri: str, evaluation: Evaluation) -> pd.DataFrame:
    """The test frame with its `score`.

    Raises:
        MissingData: if it is not there.
        CorruptData: if it is not the file that the evaluation names.
    """
    import pyarrow.parquet as pq

    named = evaluation.sha256.get(SCORED)
    content = read_named(store, scored_uri(evaluation_uri), named, evaluation.FILE, evaluation.REMEDY)
    frame: pd.DataFrame = pq.read_table(io.BytesIO(content)).to_pandas()
    return frame
