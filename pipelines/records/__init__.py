"""What was decided, predicted, routed and promoted, in SQL. A leaf: imports no step."""

from pipelines.records.decisions import Decision, Records
from pipelines.records.predictions import Arrival, Prediction, PredictionLog
from pipelines.records.releases import Release, Releases
from pipelines.records.rollouts import Entry, Plan, Rollouts

__all__ = [
    "Arrival",
    "Decision",
    "Entry",
    "Plan",
    "Prediction",
    "PredictionLog",
    "Records",
    "Release",
    "Releases",
    "Rollouts",
]
