"""`features` of params.yaml: the feature service, the parity sample, and the bars of feature health."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.params.section import Count, Section
from pipelines.verdict import Gate

ComparedMetric = Literal["null_rate_rise", "out_of_range_share", "rows_ratio", "entities_ratio", "newest_age_hours"]
HealthMetric = Literal["null_rate", "infinite_share", "stale_share", ComparedMetric]


class Bar(Gate):
    """One requirement of a view's health; `pipelines.features.health` defines the metrics."""

    metric: HealthMetric


class Health(Section):
    """The rules for the health of views.

    Attributes:
        reference_days: days before a window with which it is compared.
        bars: the bars of all views.
        views: bars of single views; they replace all bars of the same metrics.
        stop: whether a view with HOLD stops the chain.
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
