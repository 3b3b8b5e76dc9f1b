"""The rows that a look reads, and the tally of the settled rows before them.

Rows are settled up to the first one whose block is still open, or whose label may still count. A look's tally of
settled rows is stored in the records, one stretch of the log at a time, and later looks begin behind it. Stretches
follow from the log alone. All rows are read again where a look is of an earlier instant, where settings behind them
have changed, where a stretch was deleted, or where something has been logged behind them nevertheless, which no
writer does that keeps to its watermark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pandas as pd

from pipelines.deployment.counts import RolloutCounts
from pipelines.deployment.pairing import Look, paired
from pipelines.deployment.rows import read_rows
from pipelines.deployment.tally import KINDS, SUMS, RolloutTally, latest, seconds, tally
from pipelines.instants import EPOCH, MICROSECOND

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.deployment.completeness import Completeness
    from pipelines.params.rollout import WatchRules

LEAST = 1000  # least rows of a stretch: fewer are read again quickly
FORM = 1  # of the tally's format: a release that changes it raises this, and its looks read all rows once
TYPES = ("<i8", "<f8", "<i8", "<i8")  # of SUMS, without the names of blocks
Packed = tuple[list[str], tuple[bytes, ...]]


class Stretch(msgspec.Struct, frozen=True):
    """The stored tally of a stretch of settled rows.

    Attributes:
        follows: the `until` of the stretch before it; None where it is the first.
        until: it covers the rows since `follows` and before this instant.
        known: the instant of the look, up to which labels were counted.
        outcomes: the number known in the log by then, of all predictions since the rollout began.
        basis: the settings behind it, as JSON.
        counts: from the first row of the rollout on; the rest is of this stretch, as in `RolloutTally`.
        sums: the names of blocks, and the other columns of SUMS as TYPES, instants in microseconds.
        differences: as float64.
    """

    follows: datetime | None
    until: datetime
    known: datetime
    outcomes: int
    basis: str
    counts: RolloutCounts
    sums: Mapping[str, Packed]
    differences: bytes
    entities: Mapping[str, list[str]]

    @classmethod
    def of(
        cls, taken: RolloutTally, span: tuple[datetime | None, datetime], known: datetime, outcomes: int, basis: str
    ) -> Stretch:
        sums = {name: _packed(frame) for name, frame in taken.sums.items()}
        entities = {kind: sorted(names) for kind, names in taken.entities.items()}
        return cls(*span, known, outcomes, basis, taken.counts, sums, taken.differences.tobytes(), entities)


def _joined(stretches: Sequence[Stretch]) -> RolloutTally:
    """The tally of the rows of all stretches together."""
    names = {name for stretch in stretches for name in stretch.sums}
    return RolloutTally(
        stretches[-1].counts,
        {name: _unpacked([stretch.sums[name] for stretch in stretches if name in stretch.sums]) for name in names},
        np.frombuffer(b"".join(stretch.differences for stretch in stretches)),
        {kind: frozenset().union(*(stretch.entities[kind] for stretch in stretches)) for kind in KINDS},
    )


def _packed(sums: pd.DataFrame) -> Packed:
    instants = (sums.closes - EPOCH) // MICROSECOND
    numbers = zip((instants, sums.difference, sums.rows, sums.positives), TYPES, strict=True)
    return sums.block.tolist(), tuple(column.to_numpy(dtype=kind).tobytes() for column, kind in numbers)


def _unpacked(parts: Sequence[Packed]) -> pd.DataFrame:
    columns = (b"".join(column) for column in zip(*(numbers for _, numbers in parts), strict=True))
    numbers = (np.frombuffer(column, dtype=kind) for column, kind in zip(columns, TYPES, strict=True))
    blocks = [block for names, _ in parts for block in names]
    sums = pd.DataFrame(dict(zip(SUMS, (blocks, *numbers), strict=True)))
    return latest(sums.assign(closes=pd.to_datetime(sums.closes, unit="us", utc=True)))


@dataclass(frozen=True, eq=False)
class LookReading:
    """The reading of a look.

    Attributes:
        before: the tally of earlier looks over settled rows, with labels that have arrived since.
        rows: the rows after those (see `paired`).
        seen: the tally of both.
        newest: the number of the newest stretch as the look began.
        since: the instant up to which `before` has rows; None where it has none.
        outcomes: as in Stretch; None where rows of the log may still arrive, so that nothing is settled.
    """

    look: Look
    before: RolloutTally
    rows: pd.DataFrame
    seen: RolloutTally
    newest: int
    since: datetime | None
    outcomes: int | None

    @property
    def anew(self) -> bool:
        """Whether all rows were read."""
        return self.since is None


def read(context: Context, rollout: str, look: Look, complete: Completeness) -> LookReading:
    """Read the rows for a look at a rollout."""
    log, watch, plans = context.stretches, context.params.rollout.watch, [plan.version for plan in look.plans]
    newest = log.last(rollout)  # before they are read, so that a stretch of a concurrent look takes the number
    outcomes = None
    if complete.known_by == complete.until:  # counted before the rows are read, so that later arrivals are noticed
        outcomes = log.outcomes_within(look.began, complete.until)
    kept = _stretches(log.of(rollout))
    before, since = RolloutTally(), None
    if kept and _holds(kept[-1], context, look):
        last, since = kept[-1], kept[-1].until
        late = log.late_labels(plans, last.until, last.known, complete.known_by)
        before = _joined(kept)
        before = replace(before, counts=before.counts.with_labels(late))
    rows = read_rows(context.predictions, plans, complete.known_by, since, look.slices)
    rows = paired(rows, look, before.closings)
    seen = before.then(tally(rows, look, watch, before))
    return LookReading(look, before, rows, seen, newest, since, outcomes)


def _stretches(contents: Sequence[bytes]) -> list[Stretch]:
    """The stretches; none where one has another format, or does not follow its predecessor, which was deleted."""
    try:
        kept = [msgspec.msgpack.decode(content, type=Stretch) for content in contents]
    except msgspec.MsgspecError:
        return []
    ends = [None, *(stretch.until for stretch in kept)]
    return kept if all(stretch.follows == end for stretch, end in zip(kept, ends, strict=False)) else []


def keep(reading: LookReading, context: Context, rollout: str) -> None:
    """Store the tally of the rows that are settled now, if there are enough of them."""
    look, rows = reading.look, reading.rows
    is_open = seconds(rows.closes.fillna(rows.due)) > look.now.timestamp()
    until = rows.predicted_at[is_open].iloc[0].to_pydatetime() if is_open.any() else look.now
    settled = rows[rows.predicted_at < until]
    if reading.outcomes is None or len(settled) < LEAST:
        return
    watch = context.params.rollout.watch
    taken = tally(settled, look, watch, reading.before)
    if taken.counts.pace is None:  # the p95 that defines a slow request is not yet known
        return
    stretch = Stretch.of(taken, (reading.since, until), look.now, reading.outcomes, _basis(look, watch))
    context.stretches.keep(rollout, reading.newest + 1, reading.anew, msgspec.msgpack.encode(stretch))


def _holds(last: Stretch, context: Context, look: Look) -> bool:
    """Whether the log and the settings behind the stretches are unchanged."""
    log, plans = context.stretches, [plan.version for plan in look.plans]
    return (
        last.basis == _basis(look, context.params.rollout.watch)
        and last.known <= look.now
        and log.predictions_before(plans, last.until) == last.counts.requests
        and log.outcomes_within(look.began, last.known) == last.outcomes
    )


def _basis(look: Look, watch: WatchRules) -> str:
    """The settings that affect the tally of a row and may change during a rollout."""
    needed = look.needed if look.slow_ms is None else None
    values = [FORM, look.maturity.total_seconds(), look.loss.name, watch.slow_tolerance_ms, needed, look.slices]
    return msgspec.json.encode(values).decode()
