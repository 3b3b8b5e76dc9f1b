"""The judge of a rollout: pure functions over matured evidence. A leaf: no step, no clock, no input or output."""

from pipelines.judge.evidence import Blocks, Events, Evidence, Exposure, Flags, SplitCount, matured
from pipelines.judge.verdict import Action, Judgement, Rules, judge

__all__ = [
    "Action",
    "Blocks",
    "Events",
    "Evidence",
    "Exposure",
    "Flags",
    "Judgement",
    "Rules",
    "SplitCount",
    "judge",
    "matured",
]
