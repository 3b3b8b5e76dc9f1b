"""The delta between a view's files and the online store: the span of knowledge time that must be written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipelines.instants import MICROSECOND
from pipelines.online.rows import Span
from pipelines.periods import Calendar
from pipelines.store import Layout
from pipelines.store.layout import periods_of


@dataclass(frozen=True)
class OnlineState:
    """The state of a view in the online store: everything known before an instant, from these files.

    Attributes:
        upto: the instant, exclusive.
        files: version stamp of each file, by name.
    """

    upto: datetime
    files: Mapping[str, str]

    @classmethod
    def parse(cls, text: str | None) -> OnlineState | None:
        if text is None:
            return None
        fields: dict[str, Any] = json.loads(text)
        return cls(datetime.fromisoformat(fields["upto"]), fields["files"])

    def __str__(self) -> str:
        return json.dumps({"upto": self.upto.isoformat(), "files": self.files}, sort_keys=True)


def versions(data: Layout, zone: str, table: str) -> dict[str, str]:
    """Version stamp of each file of a table, by name: its size and its ETag or time of change."""
    folder = data.uri(zone, table)
    if not data.store.exists(folder):
        return {}
    listing = data.store.fs.ls(folder, detail=True, refresh=True)
    stamps = ("ETag", "etag", "mtime", "LastModified", "created")
    return {
        info["name"].rsplit("/", 1)[-1].removesuffix(".parquet"): "-".join(
            str(part) for part in (info["size"], next((info[s] for s in stamps if info.get(s)), ""))
        )
        for info in sorted(listing, key=lambda info: str(info["name"]))
        if info["name"].endswith(".parquet")
    }


def built_until(names: Iterable[str], calendar: Calendar) -> datetime | None:
    """The end of a table's last partition; None if a period among them is missing, or there are none."""
    periods = periods_of(sorted(names))
    if not periods or calendar.between(periods[0], calendar.after(periods[-1])) != periods:
        return None
    return calendar.end_at(periods[-1])


def delta(
    state: OnlineState | None,
    files: Mapping[str, str],
    ttl: timedelta | None,
    upto: datetime,
    calendar: Calendar,
    pushed: bool,
) -> Span | None:
    """The span whose latest rows must be written so that the online store holds everything known before `upto`.

    None if it holds that already. If there are only new periods, the span covers these alone. If one was restated, or
    rows were pushed that the files may contradict, an entity may fall back on an older row; so the span then covers all
    rows that can still be fresh: those within the ttl, or all rows where values do not expire. Older rows of a restated
    period are stale in either version.
    """
    last_at = upto - MICROSECOND
    if state is None:
        return Span(None, last_at, anew=True)
    oldest = upto - ttl if ttl else None
    restated = [name for name in {*files, *state.files} if files.get(name) != state.files.get(name)]
    ends = [end for name in restated if (end := _bounds(name, calendar)) is None or end[0] < state.upto]
    if any(end is None or oldest is None or end[1] > oldest for end in ends):
        return Span(oldest, last_at, anew=True)
    if upto <= state.upto:
        return None
    return Span(oldest, last_at, anew=True) if pushed else Span(state.upto, last_at, anew=False)


def _bounds(name: str, calendar: Calendar) -> tuple[datetime, datetime] | None:
    """The instants at which a partition's period begins and ends; None for a table without periods."""
    return next(((calendar.start_at(one), calendar.end_at(one)) for one in periods_of([name])), None)
