"""Up to which instant the prediction log is complete, and whom it waits for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pipelines.context import Context

USUAL = timedelta(seconds=30)  # that a writer which lives is behind at most


class Completeness(NamedTuple):
    """How far all writers of the log have come.

    Attributes:
        until: what was predicted or reported before is in the log; never later than the present.
        waits: why it is no later; empty where that is as usual.
        known_by: the instant up to which rows are read: that one, or the present where a writer has been silent for
            long. Its own rows may be lacking then, but harm that others logged meanwhile is seen.
        late: the names of those that have been silent for long.
    """

    until: datetime
    waits: tuple[str, ...]
    known_by: datetime
    late: tuple[str, ...]


def completeness(context: Context) -> Completeness:
    now = context.clock.now()
    writers = context.writers.active()
    late = [writer for writer in writers if now - writer.watermark > USUAL]
    waits = tuple(
        f"the log waits for its writer {one.name}, which has said nothing since {one.watermark.isoformat()}: start the "
        f"model server again there, or, where it has gone for good, run `flightdeck writers end {one.name}`"
        for one in late
    )
    until = min((now, *(writer.watermark for writer in writers)))
    return Completeness(until, waits, now if late else until, tuple(one.name for one in late))
