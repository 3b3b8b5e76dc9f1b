"""`training` of params.yaml: the families, their settings and search ranges."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.params.search import Search, drawing_order
from pipelines.params.section import Count, Positive, Section


class LogisticRegression(Section):
    l2_regularization: Positive
    max_iter: Count
    search: Search = Field(default_factory=dict)


class HistGradientBoosting(Section):
    learning_rate: Annotated[float, Field(gt=0)]
    max_iter: Count
    max_leaf_nodes: Annotated[int, Field(ge=2)]
    min_samples_leaf: Count
    l2_regularization: Annotated[float, Field(ge=0)]
    search: Search = Field(default_factory=dict)


class Mlp(Section):
    hidden: tuple[Count, ...]
    embedding_dim: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    batch_size: Count
    epochs: Count
    patience: Count
    search: Search = Field(default_factory=dict)


class Latency(Section):
    """The second objective: 95th percentile of the time of one-row calls of the ONNX graph."""

    budget_ms: Positive
    calls: Count = 300


class Tuning(Section):
    """How the settings of further trials are drawn and judged; `training.trials` says how many.

    Attributes:
        minutes: of wall time, after which no trial starts. What it cuts depends on the machine.
        pruning: whether trials that fall behind are ended early (Hyperband).
        folds: more than one judges by rolling-origin cross-validation; one by the validation window.
        fold_days: days that each fold is judged on.
        latency: with it, the choice is the least loss among trials within the budget.
    """

    minutes: Positive | None = None
    pruning: bool = True
    folds: Count = 1
    fold_days: Count = 14
    latency: Latency | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.latency and self.pruning:
            raise ValueError("two objectives cannot be pruned; set pruning to false, or leave out latency")
        return self


class Training(Section):
    families: Annotated[tuple[str, ...], Field(min_length=1)]
    trials: Count
    tuning: Tuning = Tuning()
    calibration: Literal["none", "platt", "isotonic", "auto"] = "auto"
    seed: int
    logistic_regression: LogisticRegression
    hist_gradient_boosting: HistGradientBoosting
    mlp: Mlp

    @model_validator(mode="after")
    def _known(self) -> Self:
        for family in self.families:
            self.check_family(family)
        for family in FAMILIES:
            settings = getattr(self, family)
            unknown = set(settings.search) - (set(type(settings).model_fields) - {"search"})
            if unknown:
                raise ValueError(f"{family}.search names {sorted(unknown)}, which {family} does not have")
            try:
                drawing_order(settings.search)
            except ValueError as error:
                raise ValueError(f"{family}.{error}") from None
        return self

    @staticmethod
    def check_family(family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"family {family!r} is unknown; choose from {', '.join(FAMILIES)}")
        return family


FAMILIES = ("logistic_regression", "hist_gradient_boosting", "mlp")  # the simplest first: the demo begins with it
READS_MISSING = {"hist_gradient_boosting"}  # families that make something of NaN
