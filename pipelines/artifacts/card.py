"""model.json: everything that decided what a model is, and nothing that differs between equal runs.

The model card of a registered version, which people read, is `version_card`.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pipelines.artifacts.document import Document, Frozen, Number
from pipelines.artifacts.manifest import InputColumns, Origin
from pipelines.graph_inputs import SPELLING
from pipelines.json_text import JsonObject
from pipelines.usecase import ModelInputs

GRAPH = "model.onnx"
FURTHER = "further"  # the graph's output beside `score`, where it has one


class CardInputs(InputColumns):
    """The columns that the graph reads, and in which spelling it learnt categories (None: before there was one)."""

    spelling: int | None = None

    @classmethod
    def of(cls, inputs: ModelInputs) -> CardInputs:
        return cls(numeric=inputs.numeric, categorical=inputs.categorical, spelling=SPELLING)


class ColumnCleaning(Frozen):
    """Of one numeric input: its caps and fill, None where there is none, and whether it has a flag and an indicator."""

    low: Number | None
    high: Number | None
    fill: Number | None
    flag: bool
    indicator: bool


class CleaningCounts(Frozen):
    """Rows of a frame, and by numeric input how many values were capped, missing and imputed."""

    rows: int
    columns: dict[str, dict[str, int]]


class CleaningFacts(Frozen):
    """What cleaning learnt, by input, and what it changed in the frames of training."""

    columns: dict[str, ColumnCleaning]
    counts: dict[str, CleaningCounts]


class CalibrationFacts(Frozen):
    """What was asked for, the method that was taken with its parameters, and the losses that chose it."""

    asked: str
    method: str
    held_out_log_loss: dict[str, Number | None] = Field(default_factory=dict)
    slope: Number | None = None
    intercept: Number | None = None
    knots: tuple[Number, ...] | None = None
    values: tuple[Number, ...] | None = None


class PruneFacts(Frozen):
    """Declared share and epochs, and the share of zeros among the weights of the linear layers."""

    share: Number
    fine_tune_epochs: int
    zero_share: Number


class QuantizeFacts(Frozen):
    """The products that are of integers, and what that changes in calibrated scores of the validation window."""

    max_difference: Number
    products: int
    difference: Number
    mean_difference: Number


class DistilFacts(Frozen):
    """What was declared, and which model taught."""

    teacher: str
    temperature: Number
    alpha: Number
    teacher_family: str
    teacher_sha256: str


class CompressionFacts(Frozen):
    """What was done to a network so that it serves more cheaply, and what that cost; nothing set where nothing was."""

    prune: PruneFacts | None = None
    quantize: QuantizeFacts | None = None
    distil: DistilFacts | None = None


class Threshold(Frozen):
    """The score from which an alarm costs least on validation, and the costs behind it."""

    value: Number
    costs: dict[str, Number] = Field(default_factory=dict)


class TrainedOn(Origin):
    """The training set: where it lies, and what its manifest says."""

    uri: str


class ModelCard(Document):
    """What decided what a model is.

    Attributes:
        params: settings of its family.
        refit: whether the fit is of training and validation rows together; calibration and threshold never are.
        environment: versions of the libraries that decide the fit.
        further: the labels whose probabilities the graph gives besides the score, in the order of its columns. They are
            uncalibrated, whatever `calibration` says, which is of the score.
    """

    FILE: ClassVar[str] = "model.json"
    REMEDY: ClassVar[str] = "train the model again"

    family: str
    inputs: CardInputs
    cleaning: CleaningFacts
    calibration: CalibrationFacts
    threshold: Threshold
    params: JsonObject
    refit: bool
    seed: int
    training_set: TrainedOn
    environment: dict[str, str] = Field(default_factory=dict)
    compression: CompressionFacts = CompressionFacts()
    further: tuple[str, ...] = ()
