"""`costs` of params.yaml: the costs of alarms and misses, in any unit; only their ratios decide the threshold."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipelines.params.section import Section

Cost = Annotated[float, Field(ge=0)]


class Costs(Section):
    """The cost of each outcome; no alarm for label 0 costs nothing.

    Attributes:
        false_alarm: an alarm for label 0.
        miss: no alarm for label 1.
        true_alarm: an alarm for label 1: the cost of acting on it.
    """

    false_alarm: Cost = 1.0
    miss: Cost = 1.0
    true_alarm: Cost = 0.0

    @model_validator(mode="after")
    def _worth(self) -> Self:
        if self.true_alarm >= self.miss or self.false_alarm == 0:
            raise ValueError("needs true_alarm < miss, or alarms never pay, and false_alarm > 0, or they always do")
        return self
