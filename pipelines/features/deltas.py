"""What the online store lacks of a view: the span of knowledge that it was not given, or was given otherwise."""

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
class Given:
    """What the online store was given of a view: everything known before an instant, out of these files.

    Attributes:
        files: what tells each file from another version of itself, by name.
    """

    upto: datetime
    files: Mapping[str, str]

    @classmethod
    def parse(cls, noted: str | None) -> Given | None:
        if noted is None:
            return None
        fields: dict[str, Any] = json.loads(noted)
        return cls(datetime.fromisoformat(fields["upto"]), fields["files"])

    def __str__(self) -> str:
        return json.dumps({"upto": self.upto.isoformat(), "files": self.files}, sort_keys=True)


def versions(data: Layout, zone: str, table: str) -> dict[str, str]:
    """What tells each file of a table from another version of itself, by name: its size and its ETag or time."""
    folder = data.uri(zone, table)
    if not data.store.exists(folder):
        return {}
    found = data.store.fs.ls(folder, detail=True, refresh=True)
    stamps = ("ETag", "etag", "mtime", "LastModified", "created")
    return {
        info["name"].rsplit("/", 1)[-1].removesuffix(".parquet"): "-".join(
            str(part) for part in (info["size"], next((info[s] for s in stamps if info.get(s)), ""))
        )
        for info in sorted(found, key=lambda info: str(info["name"]))
        if info["name"].endswith(".parquet")
    }


def built_until(names: Iterable[str], timezone: str) -> datetime | None:
    """Where a table's partitions end; None if a day among them is not built, or there are none by day."""
    days = sorted(map(date.fromisoformat, names))
    if not days or len(days) != (days[-1] - days[0]).days + 1:
        return None
    return midnight(days[-1] + timedelta(1), timezone)


def delta(
    given: Given | None,
    files: Mapping[str, str],
    ttl: timedelta | None,
    upto: datetime,
    timezone: str,
    pushed: bool,
) -> Span | None:
    """The span from which the latest rows are to be written so that the online store holds what is known before `upto`.

    None if it holds that already. Days that are only new are read alone. Where a day was restated, or rows were pushed
    of which the files may know otherwise, an entity may fall back on an older row, so all rows that can still be fresh
    are read again: those of the last ttl, or all where values do not expire. What a restated day held longer ago than
    that is stale whatever it was.
    """
    last_at = upto - MICROSECOND
    if given is None:
        return Span(None, last_at, anew=True)
    oldest = upto - ttl if ttl else None
    restated = [name for name in {*files, *given.files} if files.get(name) != given.files.get(name)]
    ends = [end for name in restated if (end := _bounds(name, timezone)) is None or end[0] < given.upto]
    if any(end is None or oldest is None or end[1] > oldest for end in ends):
        return Span(oldest, last_at, anew=True)
    if upto <= given.upto:
        return None
    return Span(oldest, last_at, anew=True) if pushed else Span(given.upto, last_at, anew=False)


def _bounds(name: str, timezone: str) -> tuple[datetime, datetime] | None:
    """The instants at which a partition's day begins and ends; None for a table without days."""
    try:
        window = Window((day := date.fromisoformat(name)), day + timedelta(1), timezone)
    except ValueError:
        return None
    return window.start_at, window.end_at
