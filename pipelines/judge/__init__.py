"""The judge of a rollout: pure functions over matured evidence. A leaf: no step, no clock, no files."""

from pipelines.judge.evidence import Blocks, Events, Evidence, Exposure, Flags, SplitCount, matured
from pipelines.judge.verdict import JudgeAction, Judgement, Rules, judge_evidence

__all__ = [
    "Blocks",
    "Events",
    "Evidence",
    "Exposure",
    "Flags",
    "JudgeAction",
    "Judgement",
    "Rules",
    "SplitCount",
    "judge_evidence",
    "matured",
]
