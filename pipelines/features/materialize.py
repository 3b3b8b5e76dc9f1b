"""Bring the online store to what was known at an instant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import AwareDatetime, Field

from pipelines.context import Context
from pipelines.instants import MICROSECOND
from pipelines.steps import Instant, StepModel

if TYPE_CHECKING:
    from feast import FeatureView

    from pipelines.features.deltas import Given
    from pipelines.online.rows import OnlineRows, Span


class Inputs(StepModel):
    as_of: Instant = Field(description="instant whose knowledge the online store shall hold, itself excluded")


class Outputs(StepModel):
    as_of: AwareDatetime
    moved: bool
    written: dict[str, int] = Field(description="entities written, by view that lacked something")


def run(inputs: Inputs, context: Context) -> Outputs:
    """Write what the online store lacks of everything known before `as_of`. (A row known then is of the next day.)

    The online store only moves forward: a run about days that it has passed brings what was restated of them, and the
    outputs say at which instant it stands. Each view changes at once, together with a note of what it was given; the
    registry says where the store stands when all have. Killed in between, any later run goes on from the notes.

    Raises:
        MissingData: if the features of a day before `as_of` are not built.
    """
    from pipelines.features.deltas import Given
    from pipelines.offline.repository import note_online_stands_at, online_stands_at
    from pipelines.online.opening import open_rows
    from pipelines.point_in_time import require_no_gap

    rows = open_rows(context.feast)
    views = [view for view in context.feast.list_feature_views() if view.online]
    given = {view.name: Given.parse(rows.given(view.name)) for view in views}
    stands_at = online_stands_at(context.feast)
    reached = [known.upto for known in given.values() if known]  # further than it stands, if a run was killed
    reached += [last_at + MICROSECOND for view in views if (last_at := rows.begun(view.name))]
    as_of = max([inputs.as_of, *reached, *([stands_at] if stands_at else [])])
    moved = stands_at is None or as_of > stands_at
    if moved:
        require_no_gap(context.data, context.usecase, as_of)
    written = {}
    for view in views:
        if (count := _bring(context, rows, view, given[view.name], as_of)) is not None:
            written[view.name] = count
    if moved:
        note_online_stands_at(context.feast, as_of)
    return Outputs(as_of=as_of, moved=moved, written=written)


def _bring(context: Context, rows: OnlineRows, view: FeatureView, given: Given | None, as_of: datetime) -> int | None:
    """Write what the online store lacks of a view; the number of entities, or None if it lacks nothing."""
    from pipelines.features.deltas import Given, built_until, delta, versions
    from pipelines.offline.sources import source_of
    from pipelines.store.layout import REFERENCE

    zone, _, table = source_of(view).name.partition("/")
    files, upto = versions(context.data, zone, table), as_of
    if files.keys() != {REFERENCE}:
        built = built_until(files, context.usecase.timezone)
        if built is None:  # only where the store has been pushed ahead: else the gap has been found before
            return None
        upto = min(as_of, built)
    recent = view.most_recent_end_time
    pushed = bool(given and recent and recent.astimezone(UTC) >= given.upto)
    span = delta(given, files, view.ttl or None, upto, context.usecase.timezone, pushed)
    if span is None:
        return None
    return _write(context, rows, view, span, Given(upto, files))


def _write(context: Context, rows: OnlineRows, view: FeatureView, span: Span, given: Given) -> int:
    from pipelines.offline.reading import AT, CREATED, latest_rows
    from pipelines.offline.sources import source_of
    from pipelines.online.rows import OnlineView, Rows

    online = OnlineView.of(view)
    table = latest_rows(
        context.feast.config, source_of(view), online.keys.names, online.features, span.first_at, span.last_at
    )
    latest = Rows.of(view, table, table[AT].to_pylist(), table[CREATED].to_pylist())
    rows.put(online, latest, span, str(given))
    return len(latest.keys)
