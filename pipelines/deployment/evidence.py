"""From the tally of a rollout's rows to the judge's evidence: pure functions."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from pipelines.deployment.counts import RolloutCounts
from pipelines.deployment.pairing import Look
from pipelines.deployment.tally import ALL, FAILED, TRIED, RolloutTally, seconds
from pipelines.judge import Blocks, Events, Evidence, Exposure, Flags, Segment, SplitCount
from pipelines.params.rollout import WatchRules


def evidence(seen: RolloutTally, look: Look, watch: WatchRules) -> Evidence:
    """The evidence for the judge from the tally of all rows under a rollout's plans."""
    counts = seen.counts
    if not counts.requests:
        return Evidence(look.champion_loss, _exposure(seen, look), flags=_flags(counts, look, watch))
    return Evidence(
        champion_loss=look.champion_loss,
        exposure=_exposure(seen, look),
        blocks=_blocks(seen.sums.get(ALL)),
        foretold=look.foretold.scatter,
        horizon=look.foretold.horizon or look.days,
        narrowest=look.foretold.narrowest,
        row_reach=look.foretold.row_reach,
        segments=tuple(
            Segment(name, _blocks(seen.sums.get(name)), scatter)
            for name, scatter in sorted(look.foretold.slices.items())
            if name.startswith(tuple(f"{column}=" for column in counts.columns))
        ),
        differences=seen.differences,
        errors=_events(counts.errors),
        slow=_events(counts.slow),
        trials=counts.entities[TRIED],
        failures=counts.entities[FAILED],
        split=tuple(
            SplitCount(plan.share, *counts.split.get(plan.version, (0, 0))) for plan in look.plans if 0 < plan.share < 1
        ),
        flags=_flags(counts, look, watch),
    )


def _blocks(sums: pd.DataFrame | None) -> Blocks:
    """The blocks that have pairs."""
    if sums is None:
        return Blocks()
    there = sums[sums.rows > 0]
    return Blocks.of(
        there.block.to_numpy(dtype=str), there.difference, there.positives, seconds(there.closes), there.rows
    )


def _events(arms: tuple[int, int]) -> Events:
    """Events of the challenger and the champion. Both score every request, so each has half of the exposure."""
    ours, count = arms[0], sum(arms)
    return Events(np.full(count, 0.5), np.arange(count) < ours)


def _exposure(seen: RolloutTally, look: Look) -> Exposure:
    """The progress of the stage in force."""
    plan, sums = look.in_force, seen.sums.get(ALL)
    return Exposure(
        stage=list(look.names).index(plan.stage),
        requests=seen.counts.exposure.get(plan.version, 0),
        seconds=max(0.0, (look.now - plan.since).total_seconds()),
        blocks=0 if sums is None else int(((sums.rows > 0) & (sums.closes > plan.since)).sum()),
        elapsed=max(0.0, (look.now - look.began).total_seconds()),
    )


def _flags(counts: RolloutCounts, look: Look, watch: WatchRules) -> Flags:
    oldest = timedelta(hours=watch.max_label_age_hours)
    unscored = counts.requests - counts.scored - counts.failed
    return Flags(
        nan_output=counts.numbers < counts.scored or counts.outside < counts.refusals,
        out_of_range_output=counts.lowest < 0 or counts.highest > 1 or counts.outside > 0,
        constant_output=counts.numbers >= watch.constant_after and counts.lowest == counts.highest,
        missing_data=unscored > watch.max_unscored_share * counts.requests
        or (counts.due > 0 and counts.due_labelled / counts.due < watch.min_labelled_share),
        stale_labels=counts.due > 0 and (counts.newest is None or look.now - counts.newest > oldest),
        stale_decision=look.in_force.stage != look.stage,
        misrouted=counts.misrouted,
        prediction_shift=counts.shifted > 0 and counts.shift / counts.shifted > watch.max_mean_shift,
        missing_inputs=look.missing_inputs,
    )
