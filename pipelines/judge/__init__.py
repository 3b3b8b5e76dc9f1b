"""The judge of a rollout: pure functions over matured evidence. A leaf: no step, no clock, no files."""

from pipelines.judge.betting import Scatter
from pipelines.judge.evidence import Blocks, Events, Evidence, Exposure, Flags, Segment, SplitCount, matured
from pipelines.judge.quality import Rules
from pipelines.judge.verdict import JudgeAction, Judgement, judge_evidence, shortfall

__all__ = [
    "Blocks",
    "Events",
    "Evidence",
    "Exposure",
    "Flags",
    "JudgeAction",
    "Judgement",
    "Rules",
    "Scatter",
    "Segment",
    "SplitCount",
    "judge_evidence",
    "matured",
    "shortfall",
]
