"""The records in SQL: partitions, decisions, predictions, routing plans, rollouts, ledger. A leaf: imports no step."""

from pipelines.records.aliases import BY_HAND, CHALLENGER, CHAMPION, PREVIOUS, Aliases
from pipelines.records.clocks import SimulatedTime
from pipelines.records.decisions import Decision, DecisionKind, Decisions
from pipelines.records.derived import Derivations, Unvalidated, Validated
from pipelines.records.inputs import InputLayout, InputLayouts
from pipelines.records.ledger import Action, Entry, Ledger
from pipelines.records.partitions import PartitionHistory, Written
from pipelines.records.plans import Plan, Plans, share_of
from pipelines.records.prediction_log import PredictionLog
from pipelines.records.predictions import Arrival, Batch, Lack, Observation, Prediction, Progress
from pipelines.records.records import Records
from pipelines.records.releases import Release, Releases
from pipelines.records.rollouts import Baseline, Ending, Rollout, Rollouts
from pipelines.records.snapshots import Snapshot, Snapshots
from pipelines.records.stretches import LateLabels, Stretches
from pipelines.records.writers import LogWriters, Writer

__all__ = [
    "BY_HAND",
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "Action",
    "Aliases",
    "Arrival",
    "Baseline",
    "Batch",
    "Decision",
    "DecisionKind",
    "Decisions",
    "Derivations",
    "Ending",
    "Entry",
    "InputLayout",
    "InputLayouts",
    "Lack",
    "LateLabels",
    "Ledger",
    "LogWriters",
    "Observation",
    "PartitionHistory",
    "Plan",
    "Plans",
    "Prediction",
    "PredictionLog",
    "Progress",
    "Records",
    "Release",
    "Releases",
    "Rollout",
    "Rollouts",
    "SimulatedTime",
    "Snapshot",
    "Snapshots",
    "Stretches",
    "Unvalidated",
    "Validated",
    "Writer",
    "Written",
    "share_of",
]
