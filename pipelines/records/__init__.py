"""What was kept, decided, predicted, routed and promoted, in SQL. A leaf: imports no step."""

from pipelines.records.decisions import Decision, Records
from pipelines.records.derived import Derivations, Unvalidated
from pipelines.records.ledger import Entry
from pipelines.records.partitions import PartitionHistory, Written
from pipelines.records.predictions import Arrival, Prediction, PredictionLog
from pipelines.records.releases import Release, Releases
from pipelines.records.rollouts import BY_HAND, CHALLENGER, CHAMPION, PREVIOUS, Plan, Rollouts
from pipelines.records.snapshots import Snapshot, Snapshots

__all__ = [
    "BY_HAND",
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "Arrival",
    "Decision",
    "Derivations",
    "Entry",
    "PartitionHistory",
    "Plan",
    "Prediction",
    "PredictionLog",
    "Records",
    "Release",
    "Releases",
    "Rollouts",
    "Snapshot",
    "Snapshots",
    "Unvalidated",
    "Written",
]
