"""`features` of params.yaml: the feature service, the parity sample, and the bars of feature health."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.params.section import Count, Section
from pipelines.verdict import Gate

Compared = Literal["null_rate_rise", "out_of_range_share", "rows_ratio", "entities_ratio", "newest_age_hours"]
HealthMetric = Literal["null_rate", "infinite_share", "stale_share", Compared]


class Bar(Gate):
    """One requirement of a view's health; `pipelines.features.health` says what the metrics are."""

    metric: HealthMetric


class Health(Section):
    """What a view must look like.

    Attributes:
        reference_days: days before a window against which it is held.
        views: bars of single views; they replace all bars of the same metrics.
        stop: whether a view that is held stops the chain.
    """

    reference_days: Count
    bars: Annotated[tuple[Bar, ...], Field(min_length=1)]
    views: dict[str, tuple[Bar, ...]] = Field(default_factory=dict)
    stop: bool = False

    def bars_of(self, view: str) -> tuple[Bar, ...]:
        own = self.views.get(view, ())
        replaced = {bar.metric for bar in own}
        return (*(bar for bar in self.bars if bar.metric not in replaced), *own)


class Features(Section):
    service: str
    parity_sample: Count
    health: Health
