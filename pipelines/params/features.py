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


def _bars(*bars: tuple[HealthMetric, Literal["at_most", "at_least"], float]) -> tuple[Bar, ...]:
    return tuple(Bar(metric=metric, direction=way, threshold=bar) for metric, way, bar in bars)


BARS = _bars(
    ("null_rate", "at_most", 0.99),
    ("infinite_share", "at_most", 0.0),
    ("null_rate_rise", "at_most", 0.25),
    ("out_of_range_share", "at_most", 0.5),
    ("stale_share", "at_most", 0.5),
    ("rows_ratio", "at_least", 0.5),
    ("rows_ratio", "at_most", 2.0),
    ("entities_ratio", "at_least", 0.5),
)


class Health(Section):
    """The rules for the health of views.

    Attributes:
        reference_days: days before a window with which it is compared.
        bars: the bars of all views.
        views: bars of single views; they replace all bars of the same metrics.
        stop: whether a view with HOLD stops the chain.
    """

    reference_days: Count = 28
    bars: Annotated[tuple[Bar, ...], Field(min_length=1)] = BARS
    views: dict[str, tuple[Bar, ...]] = Field(default_factory=dict)
    stop: bool = False

    def bars_of(self, view: str) -> tuple[Bar, ...]:
        own = self.views.get(view, ())
        replaced = {bar.metric for bar in own}
        return (*(bar for bar in self.bars if bar.metric not in replaced), *own)


class Features(Section):
    """`service` is the one that models are trained on; `parity_sample` the entities a view that parity compares."""

    service: str
    parity_sample: Count = 200
    health: Health = Health()
