"""The delta between a view's files and the online store: the span of knowledge time that must be written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from pipelines.instants import MICROSECOND, midnight
from pipelines.online.rows import Span
from pipelines.store import Layout
from pipelines.windows import Window


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


def built_until(names: Iterable[str], timezone: str) -> datetime | None:
    """The end of a table's last daily partition; None if a day among them is missing, or there are no daily ones."""
    days = sorted(map(date.fromisoformat, names))
    if not days or len(days) != (days[-1] - days[0]).days + 1:
        return None
    return midnight(days[-1] + timedelta(1), timezone)


def delta(
    state: OnlineState | None,
    files: Mapping[str, str],
    ttl: timedelta | None,
    upto: datetime,
    timezone: str,
    pushed: bool,
) -> Span | None:
    """The span whose latest rows must be written so that the online store holds everything known before `upto`.

    None if it holds that already. If there are only new days, the span covers these alone. If a day was restated, or
    rows were pushed that the files may contradict, an entity may fall back on an older row; so the span then covers all
    rows that can still be fresh: those within the ttl, or all rows where values do not expire. Older rows of a restated
    day are stale in either version.
    """
    last_at = upto - MICROSECOND
    if state is None:
        return Span(None, last_at, anew=True)
    oldest = upto - ttl if ttl else None
    restated = [name for name in {*files, *state.files} if files.get(name) != state.files.get(name)]
    ends = [end for name in restated if (end := _bounds(name, timezone)) is None or end[0] < state.upto]
    if any(end is None or oldest is None or end[1] > oldest for end in ends):
        return Span(oldest, last_at, anew=True)
    if upto <= state.upto:
        return None
    return Span(oldest, last_at, anew=True) if pushed else Span(state.upto, last_at, anew=False)


def _bounds(name: str, timezone: str) -> tuple[datetime, datetime] | None:
    """The instants at which a partition's day begins and ends; None for a table without days."""
    try:
        window = Window((day := date.fromisoformat(name)), day + timedelta(1), timezone)
    except ValueError:
        return None
    return window.start_at, window.end_at
