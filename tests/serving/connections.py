"""Connections to a model server, over which tests send calls as bytes."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import parse_headers
from typing import Any, BinaryIO

import httpx
import pytest

from pipelines.clock import ReplayClock
from pipelines.context import Context, build_context
from tests.commands import Command
from tests.conftest import TOY
from tests.predictions import read_log
from tests.serving.conftest import ModelHome, half_each, reading
from tests.serving.test_process import client, server

PATH = "/v1/predictions"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: Any

    @property
    def identity(self) -> str:
        """The id of its only prediction."""
        (one,) = self.content["predictions"]
        return str(one["id"])


@dataclass(frozen=True)
class Line:
    """A connection to the server."""

    socket: socket.socket
    received: BinaryIO

    def send(self, content: bytes, size: int | None = None) -> None:
        """Send bytes, in pieces of a size."""
        for at in range(0, len(content), size or len(content)):
            self.socket.sendall(content[at : at + (size or len(content))])

    def answer(self) -> Answer:
        """The next answer."""
        status = int(self.received.readline().split()[1])
        headers = {name.lower(): value for name, value in parse_headers(self.received).items()}
        return Answer(status, headers, json.loads(self.received.read(int(headers["content-length"]))))

    def is_over(self) -> bool:
        """Whether the server has closed the connection without sending more."""
        return self.received.read() == b""

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.received.close()
        self.socket.close()


@contextmanager
def line(url: str) -> Iterator[Line]:
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection.makefile("rb") as received:
            yield Line(connection, received)


def post(item: Any, version: str = "1.1", *headers: str, path: str = PATH) -> bytes:
    """A call as bytes; an item given as bytes is sent unchanged."""
    body = item if isinstance(item, bytes) else json.dumps(item).encode()
    lines = [f"POST {path} HTTP/{version}", "host: flightdeck", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: flightdeck\r\n\r\n".encode()


@dataclass(frozen=True)
class Served:
    """A server in a process of its own, and its log."""

    process: Command
    url: str
    context: Context

    def logged(self, name: str) -> list[str]:
        """The ids in the log that begin with a name, in the order of the log."""
        ids = [row.prediction_id for row in read_log(self.context.predictions)]
        return [identity for identity in ids if identity.startswith(name)]

    def ask(self, identity: str) -> None:
        """Send a valid call as another client; it must be answered."""
        with client(self.url) as http:
            answer = http.post(PATH, json=reading(id=identity))
            assert answer.status_code == 200 and answer.json()["predictions"][0]["id"] == identity
        assert self.logged(identity) == [identity]

    def count(self, status: int) -> float:
        """The number of prediction calls answered with a status."""
        with client(self.url) as http:
            text = http.get("/metrics").text
        pattern = rf'^flightdeck_http_requests_total{{endpoint="predictions",status="{status}"}} (\S+)$'
        return sum(map(float, re.findall(pattern, text, re.MULTILINE)))


@contextmanager
def served_over(model_home: ModelHome, records: str) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FLIGHTDECK_RECORDS_URI", records)
        context = build_context(TOY, model_home.home)
        ReplayClock(context.records.simulated_time("pumps")).start(model_home.at)
        context.plans.replace(half_each(model_home))
        with server(model_home.home) as (process, url):
            yield Served(process, url, context)
