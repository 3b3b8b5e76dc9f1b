"""Reading an API ends, whatever it answers; its token goes to its own origin only and into no message."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.errors import CorruptData, FlightdeckError, InvalidInput, Unavailable
from pipelines.params.source import fill
from pipelines.sources.addresses import scrub
from pipelines.sources.client import LONGEST_PAUSE, _retry_after
from pipelines.steps import execute
from tests.examples import costly
from tests.sources import FIRST, TABLE, Api, as_json, context_over, rows, server

WINDOW = {"start": str(FIRST), "end": str(FIRST + timedelta(4))}
CURSORS = {"records": "rows", "next": "next"}
TOKEN = "open-sesame-4711"
Answer = Callable[[BaseHTTPRequestHandler], Any]


def http(url: str, **changes: Any) -> dict[str, Any]:
    return {"kind": "http", "url": f"{url}/{{table}}", "per_second": 1000, "attempts": 1} | changes


def page(records: list[dict[str, Any]], following: Any = None) -> bytes:
    return json.dumps({"rows": as_json(records), "next": following}).encode()


def number(handler: BaseHTTPRequestHandler) -> int:
    return int(handler.path.partition("page=")[2] or 1)


def staged(context: Context) -> list[Path]:
    return list((context.settings.root / "staging").rglob("*.parquet"))


# --- repetition


@costly()
@given(length=st.integers(1, 5), into=st.integers(0, 4), empty=st.booleans(), seed=st.integers(0, 99))
def test_cyclic_pages_are_an_error_and_leave_nothing_staged(
    tmp_path_factory: pytest.TempPathFactory, length: int, into: int, empty: bool, seed: int
) -> None:
    """`length` pages, of which the last leads back to an earlier one, with or without records, in any order."""
    paths: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> bytes:
        paths.append(handler.path)
        at = number(handler) if "page=" in handler.path else 0
        records = [] if empty else rows(length * 3)[at * 3 :][:3]
        random.Random(seed).shuffle(records)
        return page(records, at + 1 if at + 1 < length else min(into, length - 1) or 99)

    with server(answer) as url:
        context = context_over(tmp_path_factory.mktemp("round") / "home", http(url, **CURSORS))
        if empty and not min(into, length - 1):
            paths.clear()
        with pytest.raises(CorruptData, match="it would never end: correct source"):
            execute("ingest", WINDOW, context)
    assert len(paths) <= length + 2 and not staged(context)
    assert not Path(context.data.uri()).exists()


@pytest.mark.parametrize("stable", [False, True])
def test_a_last_page_repeated_for_all_later_ones_is_an_error(tmp_path: Path, stable: bool) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> bytes:
        return json.dumps(as_json(rows(14)[(min(number(handler), 2) - 1) * 7 :][:7])).encode()

    with server(answer) as url:
        context = context_over(tmp_path / "home", http(url, stable_pages=stable))
        with pytest.raises(CorruptData, match="answers page '3' with the records of page '2'; it would never end"):
            execute("ingest", WINDOW, context)
    assert not staged(context)


def test_empty_pages_with_a_cursor_are_followed_up_to_max_pages(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> bytes:
        at = int(handler.path.partition("page=c")[2] or 0)
        return page(rows(3) if at == 8 else [], f"c{at + 1}" if at != 8 else None)

    with server(answer) as url:
        context = context_over(tmp_path / "home", http(url, **CURSORS))
        assert execute("ingest", WINDOW, context)["tables"]["visits"]["rows"] == 3
        bounded = context_over(tmp_path / "bounded", http(url, **CURSORS, max_pages=4))
        with pytest.raises(CorruptData, match=r"more than max_pages 4 pages, .* or raise max_pages"):
            execute("ingest", WINDOW, bounded)


def test_endless_empty_pages_with_new_cursors_are_stopped(tmp_path: Path) -> None:
    paths: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> bytes:
        paths.append(handler.path)
        return page([], f"c{len(paths)}")

    with server(answer) as url:
        context = context_over(tmp_path / "home", http(url, **CURSORS, max_empty_pages=20))
        with pytest.raises(CorruptData, match="pages in a row without a record"):
            execute("ingest", WINDOW, context)
    assert len(paths) == 21 and not staged(context)


def test_an_endless_view_is_read_up_to_max_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "warehouse.db"
    with contextlib.closing(sqlite3.connect(place)) as warehouse:
        columns = ", ".join(f"null as {name}" for name in TABLE.columns if name != "id")
        warehouse.execute(
            "create view visits as with recursive c(x) as (select 1 union all select x + 1 from c) "
            f"select x as id, {columns} from c"
        )
    monkeypatch.setenv("ENDLESS_URL", f"sqlite:///{place}")
    source = {"kind": "sql", "url_env": "ENDLESS_URL", "batch_rows": 10, "max_rows": 25}
    context = context_over(tmp_path / "home", source)
    with pytest.raises(CorruptData, match="more than max_rows 25 rows"):
        execute("ingest", WINDOW, context)
    assert not staged(context)


# --- one answer


def drip(handler: BaseHTTPRequestHandler, ended: threading.Event, headers: bool) -> None:
    """Send a byte now and then, of the headers or the body, until the client leaves."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X-Slow: " if headers else b"Content-Length: 100000\r\n\r\n["))
    try:
        while not ended.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()
    except OSError:
        pass
    handler.close_connection = True


@pytest.mark.parametrize("headers", [False, True])
def test_a_server_that_sends_byte_by_byte_is_given_up(tmp_path: Path, headers: bool) -> None:
    ended = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> Any:
        drip(handler, ended, headers)
        raise ConnectionAbortedError

    with server(answer) as url:
        context = context_over(tmp_path / "home", http(url, answer_seconds=0.5))
        try:
            with pytest.raises(Unavailable, match=r"no answer in 1 attempts \(no whole answer in 0\.5 seconds\)"):
                execute("ingest", WINDOW, context)
        finally:
            ended.set()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" + b" " * 2_000_000 + b"]", "more than 1 MB; .* raise answer_megabytes"),
        (b"[" * 100_000, "does not answer JSON"),
        (b'[{"id": ' + b"1" * 10_000 + b"}]", "does not answer JSON"),
        (b'[{"\\ud800": 1}]', "a column has the name .*, which is not text"),
        (b"\xff", "does not answer JSON"),
    ],
    ids=["large", "deep", "digits", "a half of a character", "no text"],
)
def test_an_unusable_answer_is_a_one_line_error(tmp_path: Path, body: bytes, message: str) -> None:
    with server(lambda handler: body) as url:
        context = context_over(tmp_path / "home", http(url, answer_megabytes=1))
        with pytest.raises(CorruptData, match=message):
            execute("ingest", WINDOW, context)


@pytest.mark.parametrize(
    ("after", "date", "pause"),
    [
        ("3", "", 3.0),
        ("0.25", "", 0.25),
        ("-1", "", 0.0),
        ("Wed, 21 Oct 2099 07:28:10 GMT", "Wed, 21 Oct 2099 07:28:00 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "", 0.0),
        ("nan", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_a_pause_is_read_in_seconds_or_as_a_date(after: str, date: str, pause: float | None) -> None:
    import httpx

    assert _retry_after(httpx.Headers({"Retry-After": after} | ({"Date": date} if date else {}))) == pause
    assert LONGEST_PAUSE == 60


# --- secrets


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server on another port, and the headers that it received."""
    headers: list[dict[str, str]] = []

    def answer(handler: BaseHTTPRequestHandler) -> bytes:
        headers.append({name.lower(): value for name, value in handler.headers.items()})
        return page(rows(3))

    with server(answer) as url:
        yield url, headers


@pytest.mark.parametrize(
    "link", ["{other}/visits?sig=hush", "https://127.0.0.1:{port}/visits", "http://u@127.0.0.1:{port}/"]
)
def test_a_next_page_at_another_origin_is_not_requested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: tuple[str, list[dict[str, str]]], link: str
) -> None:
    monkeypatch.setenv("VISITS_TOKEN", TOKEN)

    def answer(handler: BaseHTTPRequestHandler) -> bytes:
        port = handler.headers["Host"].partition(":")[2]
        return page(rows(3), link.format(other=elsewhere[0], port=port))

    with server(answer) as url:
        context = context_over(tmp_path / "home", http(url, **CURSORS, token_env="VISITS_TOKEN"))
        with pytest.raises(CorruptData, match="another host, port or scheme; its next page is not followed") as raised:
            execute("ingest", WINDOW, context)
    assert elsewhere[1] == [] and "hush" not in str(raised.value) and TOKEN not in str(raised.value)


def test_a_redirect_to_another_origin_is_followed_without_token_and_cookies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: tuple[str, list[dict[str, str]]]
) -> None:
    monkeypatch.setenv("VISITS_TOKEN", TOKEN)
    sent: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler) -> Any:
        sent.append(handler.headers.get("Authorization"))
        if handler.path == "/visits":
            return 307, {"Location": "/there", "Set-Cookie": f"session={TOKEN}; Path=/"}, b""
        return 307, {"Location": f"{elsewhere[0]}/visits"}, b""

    with server(answer) as url:
        context = context_over(tmp_path / "home", http(url, **CURSORS, token_env="VISITS_TOKEN"))
        assert execute("ingest", WINDOW, context)["tables"]["visits"]["rows"] == 3
    assert sent == [f"Bearer {TOKEN}"] * 2, "its own origin"
    (headers,) = elsewhere[1]
    assert "authorization" not in headers and "cookie" not in headers


ANSWERS: list[Answer] = [
    lambda handler: (500, {}, TOKEN.encode()),
    lambda handler: (401, {}, b""),
    lambda handler: (404, {}, b""),
    lambda handler: (302, {"Location": f"http://[{TOKEN}/"}, b""),
    lambda handler: (302, {"Location": f"ftp://x/?key={TOKEN}"}, b""),
    lambda handler: (302, {"Location": f"/visits?key={TOKEN}"}, b""),
    lambda handler: b"no JSON",
    lambda handler: page([], f"http://127.0.0.1:1/?key={TOKEN}"),
    lambda handler: page([], f"{handler.path.partition('?')[0]}?key={TOKEN}"),
    lambda handler: page([{"id": "x"}], None),
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_secret_shows_in_no_message_and_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    monkeypatch.setenv("VISITS_TOKEN", TOKEN)
    with server(answer) as url, caplog.at_level("DEBUG"):
        source = http(url, **CURSORS, token_env="VISITS_TOKEN", next_is="url", query={"key": TOKEN})
        with pytest.raises(FlightdeckError) as raised:
            execute("ingest", WINDOW, context_over(tmp_path / "home", source))
    assert TOKEN not in str(raised.value) + caplog.text


def test_only_origin_and_path_of_an_address_are_shown() -> None:
    assert scrub("https://u:p@h:8/a?k=s#f") == "https://...@h:8/a"
    assert scrub("cannot reach 'http://h/x?sig=s' (twice)") == "cannot reach 'http://h/x' (twice)"
    assert scrub("file:///in/what?.csv") == "file:///in/what?.csv"


# --- params

SECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "http", "url": "http://ada:sesame@h/{table}"}, "holds a user name or password .*token_env"),
    ({"kind": "http", "url": "https://sesame@h/{table}"}, "holds a user name or password"),
    ({"kind": "htp", "url": "http://ada:sesame@h/{table}"}, "does not match any of the expected tags"),
    ({"kind": "files", "uri": "s3://ada:sesame@b/{table}"}, "holds a user name or password"),
    ({"kind": "files", "uri": "simplecache::ftp://ada:sesame@h/x"}, "holds a user name or password"),
    ({"kind": "http", "url": "http://h/{tabel}"}, r"\{tabel\} is not a placeholder; choose from \{table\}"),
    ({"kind": "files", "uri": "/in/{date}.csv"}, r"\{date\} is not a placeholder; choose from \{table\}, \{day\}"),
    ({"kind": "sql", "url_env": "X", "table": "{tables}"}, r"\{tables\} is not a placeholder; choose from \{table\}"),
    (
        {"kind": "http", "url": "http://h/", "query": {"to": "{untill}"}},
        r"\{untill\} is not a placeholder; choose from \{start\}, \{end\}, \{since\}, \{until\}",
    ),
    ({"kind": "files", "uri": "/in", "timezone": "Mars/Base"}, "'Mars/Base' is not an IANA zone"),
]


@pytest.mark.parametrize(("section", "message"), SECTIONS, ids=lambda value: str(value)[:60])
def test_an_impossible_source_is_refused_when_params_are_read(
    tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        context_over(tmp_path / "home", section)
    assert "sesame" not in str(raised.value)


@given(st.text(st.sampled_from('{}": ast,1')), st.dictionaries(st.sampled_from(["a", "s", "t"]), st.text()))
def test_only_placeholders_are_replaced(text: str, values: dict[str, str]) -> None:
    want, rest = "", text
    while rest:
        name = next((one for one in values if rest.startswith(f"{{{one}}}")), None)
        want, rest = (want + values[name], rest[len(name) + 2 :]) if name else (want + rest[0], rest[1:])
    assert fill(text, values) == want


def test_json_in_a_query_is_sent_unchanged_and_the_query_of_the_url_is_kept(tmp_path: Path) -> None:
    wanted = '{"status": "landed", "from": "{start}", "ids": [{"a": {}}]}'
    with Api(as_json(rows(3))).serving() as api:
        source = {"kind": "http", "url": f"{api.url}?v=2", "per_second": 1000, "query": {"filter": wanted}}
        execute("ingest", WINDOW, context_over(tmp_path / "home", source))
    assert api.queries[0] == {"v": "2", "filter": wanted.replace("{start}", str(FIRST)), "page": "1"}


def test_the_params_of_the_project_still_load() -> None:
    assert load_params("params.yaml").source.kind == "bundled"
    assert datetime.now(UTC) > datetime(2024, 1, 1, tzinfo=UTC)
