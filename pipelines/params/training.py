"""`training` of params.yaml: the families, their settings and search ranges."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipelines.params.section import Count, Positive, Section


class Range(Section):
    """A search range: uniform, or log-uniform, over [low, high]."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high <= self.low or (self.log and self.low <= 0):
            raise ValueError("needs low < high, and low > 0 where log is true")
        return self


class LogisticRegression(Section):
    l2_regularization: Positive
    max_iter: Count
    search: dict[str, Range] = Field(default_factory=dict)


class HistGradientBoosting(Section):
    learning_rate: Annotated[float, Field(gt=0)]
    max_iter: Count
    max_leaf_nodes: Annotated[int, Field(ge=2)]
    min_samples_leaf: Count
    l2_regularization: Annotated[float, Field(ge=0)]
    search: dict[str, Range] = Field(default_factory=dict)


class Mlp(Section):
    hidden: tuple[Count, ...]
    embedding_dim: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    batch_size: Count
    epochs: Count
    patience: Count
    search: dict[str, Range] = Field(default_factory=dict)


class Training(Section):
    families: Annotated[tuple[str, ...], Field(min_length=1)]
    trials: Count
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
        return self

    @staticmethod
    def check_family(family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"family {family!r} is unknown; choose from {', '.join(FAMILIES)}")
        return family


FAMILIES = ("logistic_regression", "hist_gradient_boosting", "mlp")  # the simplest first: the demo begins with it
READS_MISSING = {"hist_gradient_boosting"}  # families that make something of NaN
