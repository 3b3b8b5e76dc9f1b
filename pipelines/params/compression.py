"""`training.compression` of params.yaml: how networks are compressed for cheaper serving, by family."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipelines.params.section import Level, Natural, Positive, Section, Share


class Distil(Section):
    """Distillation (Hinton et al. 2015): the network also learns from a teacher's scores.

    Attributes:
        teacher: a family, which the same run trains first with its declared settings; or the folder of a trained model.
        temperature: divides the log-odds of both; 1 leaves the probabilities unchanged.
        alpha: weight of the teacher in the loss; that of the labels is 1 - alpha.
    """

    teacher: Annotated[str, Field(min_length=1)]
    temperature: Positive = 2.0
    alpha: Share = 0.5


class Compression(Section):
    """The compression of one family; everything is off by default.

    Attributes:
        prune: share of the weights of each linear layer, the smallest, that become zero after the fit.
        fine_tune_epochs: epochs after pruning in which the remaining weights are trained further.
        quantize: whether matrix products use 8-bit integers.
        max_difference: largest change of a score of the validation window that quantization may cause.
    """

    prune: Annotated[float, Field(ge=0, lt=1)] = 0.0
    fine_tune_epochs: Natural = 0
    quantize: bool = False
    max_difference: Level = 0.05
    distil: Distil | None = None

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.fine_tune_epochs and not self.prune:
            raise ValueError("fine_tune_epochs follow pruning; set prune too, or leave them out")
        return self


NONE = Compression()
