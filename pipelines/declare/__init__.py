"""Declared features: the built table, Feast's view, the models' inputs and pushes all follow from one declaration.

Light to import, as use cases are.
"""

from pipelines.declare.derived import (
    Bins,
    Cross,
    Cyclical,
    Derived,
    Difference,
    Each,
    Function,
    Log,
    Ratio,
    derived_of,
)
from pipelines.declare.events import (
    Events,
    Measure,
    Prepared,
    count,
    deviation,
    distinct,
    last,
    last_at,
    least,
    mean,
    most,
    share,
    since_last,
    total,
)
from pipelines.declare.over import Active, Level, Over, Trailing, trailing
from pipelines.declare.views import Coded, Declared, Feature, latest, profile, schedule

__all__ = [
    "Active",
    "Bins",
    "Coded",
    "Cross",
    "Cyclical",
    "Declared",
    "Derived",
    "Difference",
    "Each",
    "Events",
    "Feature",
    "Function",
    "Level",
    "Log",
    "Measure",
    "Over",
    "Prepared",
    "Ratio",
    "Trailing",
    "count",
    "derived_of",
    "deviation",
    "distinct",
    "last",
    "last_at",
    "latest",
    "least",
    "mean",
    "most",
    "profile",
    "schedule",
    "share",
    "since_last",
    "total",
    "trailing",
]
