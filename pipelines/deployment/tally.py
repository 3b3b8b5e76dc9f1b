"""The judge's tally of rows: counts, sums by block, differences, and the entities that it has seen.

Rows come in order of `predicted_at`, in any number of parts: a tally built part by part equals that of all rows at
once, to the last bit. So rows that no later look sees differently need not be read again.

Two things are not summed up, since a sum does not suffice as evidence: the difference of each pair (the bets against
a catastrophe are on rows, with a limit that moves with the pair's scale, and the bounds on blocks are searched over
many limits), and the names of entities, of which only the first event counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.deployment.baseline import pace
from pipelines.deployment.counts import RolloutCounts, counted
from pipelines.deployment.foretold import slice_value
from pipelines.deployment.pairing import Look, numbers_of
from pipelines.instants import EPOCH, MICROSECOND
from pipelines.judge import matured
from pipelines.params.rollout import WatchRules

Array = NDArray[np.float64]

ALL = ""  # the name of the sums over all slices
SUMS = ("block", "closes", "difference", "rows", "positives")
TRIED, FAILED, ERRED, SLOW, DRAWN = KINDS = ("tried", "failed", "erred", "slow", "drawn")


@dataclass(frozen=True, eq=False)
class RolloutTally:
    """The tally of rows.

    Attributes:
        counts: over all rows so far.
        sums: ALL and each slice's name; a row for each block, with columns SUMS: the instant at which its labels have
            matured, and of its pairs the sum of the differences, their number and those with a positive label.
        differences: (N,) of matured pairs, in order of `predicted_at` and entity.
        entities: by KINDS.
    """

    counts: RolloutCounts = field(default_factory=RolloutCounts)
    sums: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    differences: Array = field(default_factory=lambda: np.zeros(0))
    entities: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def closings(self) -> pd.Series | None:
        """The instant at which the labels of each block have matured, by the block's name."""
        return self.sums[ALL].set_index("block").closes if ALL in self.sums else None

    def then(self, following: RolloutTally) -> RolloutTally:
        """This tally together with that of the following rows."""
        names, both = {*self.sums, *following.sums}, (self, following)
        frames = {name: [one.sums[name] for one in both if name in one.sums] for name in names}
        return RolloutTally(
            following.counts,
            {name: latest(pd.concat(parts)) for name, parts in frames.items()},
            np.concatenate([self.differences, following.differences]),
            {kind: self.entities.get(kind, frozenset()) | following.entities.get(kind, frozenset()) for kind in KINDS},
        )


def latest(sums: pd.DataFrame) -> pd.DataFrame:
    """Sums of blocks; of a block with several rows the last one, which includes the earlier sums."""
    return sums.drop_duplicates("block", keep="last")


def tally(rows: pd.DataFrame, look: Look, watch: WatchRules, before: RolloutTally) -> RolloutTally:
    """The tally of some rows (see `paired`) at an instant, after the tally of those before.

    Sums of blocks continue those before; entities are the new ones.
    """
    if rows.empty:
        exposure = {plan.version: before.counts.exposure.get(plan.version, 0) for plan in look.plans}
        split = _split(pd.DataFrame({"plan": [], "ours": []}), look, before.counts.split)
        return RolloutTally(replace(before.counts, exposure=exposure, split=split))
    both = rows.scores.map(lambda scores: {look.champion, look.challenger} <= set(scores)).astype(bool)
    comparable = both & ~rows.failed & ~rows.champion_failed
    closed = comparable & _counts(rows, "closes", look.now)
    sums, columns = _sums(rows, closed, look, before.sums)
    matured_rows = rows[comparable & _counts(rows, "due", look.now)].sort_values(["due", "entity"], kind="stable")
    bound = before.counts.pace if look.slow_ms is None else look.slow_ms
    bound = pace(rows, look.champion, look.needed) if bound is None else bound
    new = _entities(rows, look, watch, bound, before.entities)
    counts = counted(rows, look, before.counts)
    known = counts.entities
    return RolloutTally(
        replace(
            counts,
            split=_split(new[DRAWN], look, counts.split),
            errors=_arms(new[ERRED], counts.errors),
            slow=_arms(new[SLOW], counts.slow),
            entities={kind: known.get(kind, 0) + len(new[kind]) for kind in KINDS},
            pace=bound,
            columns=tuple(sorted({*counts.columns, *columns})),
        ),
        sums,
        matured_rows.difference.to_numpy(dtype=np.float64, copy=True),
        {kind: frozenset(new[kind].entity) for kind in KINDS},
    )


def seconds(instants: pd.Series) -> Array:
    """Epoch seconds, as `timestamp` of each instant, to the last bit; NaN for a missing one."""
    micros = (instants - EPOCH) // MICROSECOND
    return np.asarray(micros, dtype=np.float64) / 1e6


def _counts(rows: pd.DataFrame, due: str, now: datetime) -> NDArray[np.bool_]:
    return matured(seconds(rows[due]), seconds(rows.known_at), now.timestamp())


def _sums(
    rows: pd.DataFrame, closed: pd.Series, look: Look, before: Mapping[str, pd.DataFrame]
) -> tuple[dict[str, pd.DataFrame], set[str]]:
    """Sums of the rows' blocks, overall and by slice, and the slice columns that closed pairs have.

    Slices are those that were seen before the rollout. A block without pairs has empty sums, for its closing instant.
    """
    parts = pd.DataFrame(
        {
            "block": rows.block,
            "closes": rows.block_due,
            "difference": rows.difference.where(closed, 0.0),
            "rows": closed.astype(np.int64),
            "positives": (closed & (rows.label > 0)).astype(np.int64),
        }
    )
    found, columns = {ALL: _summed(parts, before.get(ALL))}, set()
    pairs = parts[closed]
    for at, column in enumerate(look.slices):
        values = rows.slices[closed].map(lambda told, at=at: told[at]).dropna().map(slice_value)
        if len(values):
            columns.add(column)
        for value, labels in values.groupby(values).groups.items():
            if (name := f"{column}={value}") in look.foretold.slices:
                found[name] = _summed(pairs.loc[labels], before.get(name))
    return found, columns


def _summed(parts: pd.DataFrame, before: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each block of `parts`: sums in the order of the rows, after those of before."""
    if before is not None:
        parts = pd.concat([before[before.block.isin(parts.block)], parts], ignore_index=True)
    code, names = pd.factorize(parts.block)
    first = np.unique(code, return_index=True)[1]
    return pd.DataFrame(
        {
            "block": names,
            "closes": parts.closes.iloc[first].array,
            "difference": np.bincount(code, parts.difference, len(names)),
            "rows": np.bincount(code, parts.rows, len(names)).astype(np.int64),
            "positives": np.bincount(code, parts.positives, len(names)).astype(np.int64),
        }
    )


def _entities(
    rows: pd.DataFrame, look: Look, watch: WatchRules, bound: float | None, known: Mapping[str, frozenset[str]]
) -> dict[str, pd.DataFrame]:
    """By KINDS, the first row of each entity that is new in it, with `ours`: whether it is about the challenger.

    An event is a failure, or a request that was slower than the champion's p95; for the challenger, slower by more than
    a tolerance. A request on which both versions failed does not show which is worse.
    """
    times = {version: numbers_of(rows.milliseconds, version) for version in (look.challenger, look.champion)}
    late = pd.DataFrame({"ours": False, "theirs": False}, index=rows.index)
    if bound is not None:
        late = late.assign(
            ours=times[look.challenger] > bound + watch.slow_tolerance_ms, theirs=times[look.champion] > bound
        )
    draws = [plan.version for plan in look.plans if 0 < plan.share < 1]
    hits = {
        TRIED: (rows.ours.notna() | rows.failed, rows.failed),
        FAILED: (rows.failed, rows.failed),
        ERRED: (rows.failed ^ rows.champion_failed, rows.failed),
        SLOW: (late.ours ^ late.theirs, late.ours),
        DRAWN: (rows.plan.isin(draws), rows.assigned == look.challenger),
    }
    new = {}
    for kind, (hit, ours) in hits.items():
        first = pd.DataFrame({"entity": rows.entity, "plan": rows.plan, "ours": ours})[hit].drop_duplicates("entity")
        seen = known.get(kind, frozenset())
        new[kind] = first[np.array([entity not in seen for entity in first.entity], dtype=bool)]
    return new


def _arms(events: pd.DataFrame, before: tuple[int, int]) -> tuple[int, int]:
    ours = int(events.ours.sum())
    return before[0] + ours, before[1] + len(events) - ours


def _split(drawn: pd.DataFrame, look: Look, before: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Entities of the log, by the plan under which they first appeared and the arm that they were assigned to.

    Stages that send all or no entities to the challenger do not count, since they draw no arm. A version that fails
    moves no entity to the other arm, so an implausible ratio means that entities of one arm are missing from the log.
    """
    versions = [plan.version for plan in look.plans if 0 < plan.share < 1]
    return {one: _arms(drawn[drawn.plan == one], before.get(one, (0, 0))) for one in versions}
