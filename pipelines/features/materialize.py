"""Bring the online store up to the knowledge of an instant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import AwareDatetime, Field

from pipelines.context import Context
from pipelines.instants import MICROSECOND
from pipelines.steps import Instant, StepModel

if TYPE_CHECKING:
    from feast import FeatureView

    from pipelines.features.deltas import OnlineState
    from pipelines.online.rows import OnlineRows, Span


class Inputs(StepModel):
    as_of: Instant = Field(description="instant whose knowledge the online store shall hold, itself excluded")


class Outputs(StepModel):
    as_of: AwareDatetime
    moved: bool
    written: dict[str, int] = Field(description="entities written, by view that lacked something")


def run(inputs: Inputs, context: Context) -> Outputs:
    """Write what the online store lacks of everything known before `as_of`.

    A row known at `as_of` is the next day's: it is written where it rests on days before and is there already.

    The online store only moves forward: a run about days that it has passed writes only restated rows of them, and the
    outputs hold the store's instant. Each view is written together with a note of its state; the registry
    holds the store's instant, once all views have reached it. After a kill, any later run continues from the notes.

    Raises:
        MissingData: if the features of a day before `as_of` are not built.
    """
    from pipelines.features.deltas import OnlineState
    from pipelines.online.opening import open_rows
    from pipelines.online.standing import note_online_stands_at, online_stands_at, standing_of
    from pipelines.point_in_time import require_no_gap

    rows = open_rows(context.feast)
    views = [view for view in context.feast.list_feature_views() if view.online]
    states = {view.name: OnlineState.parse(rows.read_note(view.name)) for view in views}
    stands_at = online_stands_at(context.feast)
    ends = {name: state.upto for name, state in states.items() if state}  # beyond the registry, if a run was killed
    ends |= {view.name: last_at + MICROSECOND for view in views if (last_at := rows.interrupted_at(view.name))}
    reached = [standing_of(name, end, context.usecase) for name, end in ends.items()]
    as_of = max([inputs.as_of, *reached, *([stands_at] if stands_at else [])])
    moved = stands_at is None or as_of > stands_at
    if moved:
        require_no_gap(context.data, context.usecase, as_of)
    written = {}
    for view in views:
        if (count := _bring(context, rows, view, states[view.name], as_of)) is not None:
            written[view.name] = count
    if moved:
        note_online_stands_at(context.feast, as_of)
    return Outputs(as_of=as_of, moved=moved, written=written)


def _bring(
    context: Context, rows: OnlineRows, view: FeatureView, state: OnlineState | None, as_of: datetime
) -> int | None:
    """Write what the online store lacks of a view; returns the number of entities, or None if it lacks nothing."""
    from pipelines.features.deltas import OnlineState, built_until, delta, versions
    from pipelines.offline.sources import source_of
    from pipelines.online.standing import known_until
    from pipelines.store.layout import REFERENCE

    zone, _, table = source_of(view).name.partition("/")
    files, upto = versions(context.data, zone, table), as_of
    if files.keys() != {REFERENCE}:
        end = built_until(files, context.calendar)
        if end is None:  # only where the store was pushed ahead; otherwise `require_no_gap` has raised
            return None
        upto = min(known_until(view.name, as_of, context.usecase), end)
    recent = view.most_recent_end_time
    pushed = bool(state and recent and recent.astimezone(UTC) >= state.upto)
    span = delta(state, files, view.ttl or None, upto, context.calendar, pushed)
    if span is None:
        return None
    return _write(context, rows, view, span, OnlineState(upto, files))


def _write(context: Context, rows: OnlineRows, view: FeatureView, span: Span, state: OnlineState) -> int:
    from pipelines.offline.reading import AT, CREATED, latest_rows
    from pipelines.offline.sources import source_of
    from pipelines.online.rows import EncodedRows, OnlineView

    online = OnlineView.of(view)
    table = latest_rows(
        context.feast.config, source_of(view), online.keys.names, online.features, span.first_at, span.last_at
    )
    latest = EncodedRows.of(view, table, table[AT].to_pylist(), table[CREATED].to_pylist())
    rows.put(online, latest, span, str(state))
    return len(latest.keys)
