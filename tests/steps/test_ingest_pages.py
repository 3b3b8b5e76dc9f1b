"""Interrupted reads of an API: where they resume, and where they must not."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import CorruptData, FlightdeckError, MissingData, Unavailable
from pipelines.steps import execute
from tests.sources import FIRST, TABLE, Api, as_json, context_over, rows, server

WINDOW = {"start": str(FIRST), "end": str(FIRST + timedelta(4))}
PLAIN = replace(TABLE, known=None)
BUSY = (503, {"Retry-After": "0"})
CURSORS: dict[str, Any] = {"records": "data.items", "next": "meta.next"}


def http(api: Api, **changes: Any) -> dict[str, Any]:
    return {"kind": "http", "url": api.url, "per_second": 1000, "attempts": 2} | changes


def fails_at(page: int, down: list[bool]) -> Callable[[int, int], tuple[int, dict[str, str]] | None]:
    return lambda _, queried: BUSY if queried == page and down[0] else None


def staged(context: Context) -> list[Path]:
    return [path for path in (context.settings.root / "staging" / "visits").iterdir() if path.is_dir()]


@contextmanager
def half_read(home: Path, window: dict[str, str] = WINDOW, **changes: Any) -> Iterator[tuple[Api, Context]]:
    """A cursor API whose first read failed after three staged pages, the first with an extra column."""
    records = [one | ({"mood": 1} if n < 7 else {}) for n, one in enumerate(as_json(rows()))]
    down = [True]
    cursors = "next" in changes
    with Api(records, cursors=cursors, fail=fails_at(4, down)).serving() as api:
        context = context_over(home, http(api, **changes), PLAIN)
        with pytest.raises(Unavailable, match="no answer in 2 attempts"):
            execute("ingest", window, context)
        down[0] = False
        api.queries.clear()
        yield api, context


def test_a_column_of_a_staged_page_is_reported(tmp_path: Path) -> None:
    with half_read(tmp_path / "home", **CURSORS) as (api, context):
        assert execute("ingest", WINDOW, context)["tables"]["visits"]["new_columns"] == ["mood"]
        assert api.queries[0]["page"] == "c4"


def test_numbered_pages_start_again_since_the_source_may_have_changed(tmp_path: Path) -> None:
    with half_read(tmp_path / "home") as (api, context):
        del api.records[:3]
        assert execute("ingest", WINDOW, context)["tables"]["visits"]["rows"] == 57
        assert api.queries[0]["page"] == "1"


def test_numbered_pages_resume_where_declared_stable(tmp_path: Path) -> None:
    with half_read(tmp_path / "home", stable_pages=True) as (api, context):
        assert execute("ingest", WINDOW, context)["tables"]["visits"]["rows"] == 60
        assert api.queries[0]["page"] == "4"


def test_an_expired_cursor_starts_again(tmp_path: Path) -> None:
    with half_read(tmp_path / "home", **CURSORS) as (api, context):
        api.fail = lambda request, page: (410, {}) if request == 1 else None
        assert execute("ingest", WINDOW, context)["tables"]["visits"]["rows"] == 60
        assert [one.get("page") for one in api.queries[:3]] == ["c4", None, "c2"]
        api.fail = lambda request, page: (410, {})
        with pytest.raises(MissingData, match="answers 410"):
            execute("ingest", WINDOW, context)


def test_a_read_from_another_watermark_does_not_resume(tmp_path: Path) -> None:
    """The staged pages lack the changes between the two watermarks."""
    with half_read(tmp_path / "home", incremental=True, query={"from": "{since}"}, **CURSORS) as (api, context):
        alone = replace(context.usecase, tables=(TABLE,))  # type: ignore[type-var]
        context = replace(context, usecase=alone)  # noqa: PLW2901 - another view of the same home
        api.fail = fails_at(4, [True])
        with pytest.raises(Unavailable):
            execute("ingest", WINDOW, context)
        context.partitions.move_watermark("visits", rows()[0]["at"] - timedelta(days=9))
        api.fail = lambda request, page: None
        api.queries.clear()
        execute("ingest", WINDOW, context)
        assert "page" not in api.queries[0]


def test_leftovers_of_other_windows_are_removed_by_a_successful_run(tmp_path: Path) -> None:
    day = {"start": str(FIRST), "end": str(FIRST + timedelta(1))}
    with half_read(tmp_path / "home", day, **CURSORS) as (_, context):
        other = context.settings.root / "staging" / "visits" / "visits-of-others-0123456789ab"
        other.mkdir()
        assert len(staged(context)) == 2
        execute("ingest", WINDOW, context)
        assert staged(context) == [other], "staged pages of another table are kept"


# --- the next page


@pytest.mark.parametrize(
    ("cursor", "changes", "path"),
    [
        ("/a+b==", {}, "/visits"),
        ("/v2/visits?after=1", {"next_is": "url"}, "/v2/visits"),
        ("https://x", {"next_is": "cursor"}, "/visits"),
        ("HTTP://{here}/v3", {}, "/v3"),
    ],
)
def test_a_cursor_is_read_as_a_url_only_where_it_is_one(
    tmp_path: Path, cursor: str, changes: dict[str, str], path: str
) -> None:
    paths: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> bytes:
        paths.append(handler.path)
        following = cursor.replace("{here}", handler.headers["Host"])
        return b'{"rows": [], "next": %s}' % (b'"%s"' % following.encode() if len(paths) == 1 else b"null")

    with server(answer) as url:
        source = {"kind": "http", "url": f"{url}/{{table}}", "records": "rows", "next": "next", "per_second": 1000}
        execute("ingest", WINDOW, context_over(tmp_path / "home", source | changes))
    assert len(paths) == 2 and paths[1].split("?")[0] == path


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "message"),
    [
        (
            200,
            {"Content-Encoding": "gzip"},
            gzip.compress(b"[]", mtime=0)[:9] + b"no",
            Unavailable,
            "no answer in 2 attempts .*Decoding",
        ),
        (200, {}, b'[{"visit_id": 1, "visit_id": 2}]', CorruptData, "'visit_id' stands twice"),
        (302, {"Location": "file:///etc/hostname"}, b"", MissingData, "gives no answer .*file://"),
        (302, {"Location": "/visits"}, b"", MissingData, "gives no answer .*redirect"),
        (200, {"Content-Length": "999"}, b"[", Unavailable, "no answer in 2 attempts .*RemoteProtocolError"),
    ],
    ids=["broken gzip", "a key twice", "to a file", "endless redirects", "cut short"],
)
def test_an_unreadable_answer_is_reported_as_such(
    tmp_path: Path, status: int, headers: dict[str, str], body: bytes, kind: type[FlightdeckError], message: str
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return status, headers, body

    with server(answer) as url, pytest.raises(kind, match=message):
        source = {"kind": "http", "url": f"{url}/{{table}}", "per_second": 1000, "attempts": 2}
        execute("ingest", WINDOW, context_over(tmp_path / "home", source))
