"""A small daily table in every kind of source, and an HTTP API that can be made to fail."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pandas as pd
import yaml

from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.settings import Settings
from pipelines.usecase import RawTable
from tests.conftest import TOY
from tests.toy import Pumps

COLUMNS = {
    "id": "int32",
    "site": "string",
    "value": "float64",
    "at": "timestamp[us, UTC]",
    "changed_at": "timestamp[us, UTC]",
}
TABLE = RawTable("visits", ("id",), COLUMNS, day="at", known="changed_at")
FIRST = date(2024, 3, 29)  # the days that follow include a clock change


def rows(count: int = 60, start: datetime = datetime(2024, 3, 28, 23, 30, tzinfo=UTC)) -> list[dict[str, Any]]:
    """Visits an hour and a half apart, known twenty minutes later."""
    visits = []
    for number in range(count):
        at = start + timedelta(minutes=90 * number)
        changed = at + timedelta(minutes=20)
        visits.append({"id": number, "site": "ab"[number % 2], "value": number / 4, "at": at, "changed_at": changed})
    return visits


def versions(draw: random.Random, hours: int, move: Callable[[datetime, datetime], datetime | None]) -> list[Any]:
    """Forty visits, each followed by up to two corrections.

    Args:
        hours: how much later a correction may be known.
        move: gives the corrected time of a visit from its first and its latest time.
    """
    records: list[dict[str, Any]] = []
    for record in rows(40):
        records.append(record)
        for _ in range(draw.randint(0, 2)):
            changed = records[-1]["changed_at"] + timedelta(hours=draw.randint(1, hours))
            at = move(record["at"], records[-1]["at"])
            records.append(record | {"value": draw.random(), "changed_at": changed, "at": at})
    return records


def context_over(home: Path, source: dict[str, Any], table: RawTable = TABLE, **changes: Any) -> Context:
    """A use case of that daily table, read from `source`; times without an offset are in UTC."""
    if source["kind"] != "bundled":
        source = {"timezone": "UTC", **source}
    raw = yaml.load(TOY.read_text(), yaml.CSafeLoader) | {"source": source, **changes}
    file = home.with_name(f"{home.name}.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.dump(raw, Dumper=yaml.CSafeDumper))
    usecase: Any = Pumps(name="visits", tables=(table,), feature_tables=())
    return Context(Settings(home=home), load_params(file), usecase)


def as_json(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v.isoformat() if isinstance(v, datetime) else v for k, v in one.items()} for one in records]


def write_csv(file: Path, records: list[dict[str, Any]], **options: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(as_json(records)).to_csv(file, index=False, **options)


@dataclass
class Api:
    """An API of one paged list of records. `fail` may answer a request in its place."""

    records: list[dict[str, Any]]
    size: int = 7
    fail: Callable[[int, int], tuple[int, dict[str, str]] | None] = lambda request, page: None
    cursors: bool = False
    queries: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{{table}}"

    def answer(self, query: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        given = query.get("page")
        page = int(given.removeprefix("c")) if given else 1
        self.queries.append(query)
        if broken := self.fail(len(self.queries), page):
            return broken[0], broken[1], {"error": "no"}
        part = self.records[(page - 1) * self.size : page * self.size]
        if not self.cursors:
            return 200, {}, part
        more = f"c{page + 1}" if page * self.size < len(self.records) else None
        return 200, {}, {"data": {"items": part}, "meta": {"next": more}}

    @contextmanager
    def serving(self) -> Iterator[Api]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {name: values[0] for name, values in parse_qs(urlparse(self.path).query).items()}
                api.headers.append(dict(self.headers))
                status, headers, body = api.answer(query)
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], Any]) -> Iterator[str]:
    """A server whose answer is the body, or (status, headers, body); gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answered = answer(self)
            status, headers, body = answered if isinstance(answered, tuple) else (200, {}, answered)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
