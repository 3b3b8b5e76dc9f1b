"""HTTP/1.0 and pipelined HTTP, sent as bytes to a server process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.services import thorough
from tests.serving.conftest import ModelHome, reading
from tests.serving.connections import PATH, Served, get, line, post, served_over

pytestmark = thorough


@pytest.fixture(scope="module")
def served(model_home: ModelHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_over(model_home, f"sqlite:///{tmp_path_factory.mktemp('wire') / 'records.db'}") as one:
        yield one


@pytest.mark.parametrize("headers", [(), ("connection: keep-alive",), ("connection: close",)], ids=str)
def test_a_call_of_http_1_0_is_answered_whole_and_its_connection_closed(
    served: Served, headers: tuple[str, ...]
) -> None:
    identity = f"old{len(str(headers))}"
    with line(served.url) as old:
        old.send(post(reading(id=identity), "1.0", *headers))
        answer = old.answer()
        assert answer.status == 200 and answer.identity == identity and "transfer-encoding" not in answer.headers
        assert answer.headers["connection"] == "close" and old.is_over()
    assert served.logged(identity) == [identity]


def test_an_invalid_call_of_http_1_0_is_answered_with_the_fault(served: Served) -> None:
    without_length = f"POST {PATH} HTTP/1.0\r\n\r\n".encode() + json.dumps(reading(id="none")).encode()
    for sent, status, detail in (
        (post(reading(plant="east"), "1.0"), 422, "plant: should be 'north' or 'south' (got 'east')"),
        (without_length, 400, "the body is not JSON"),
        (b"GET /nothing HTTP/1.0\r\n\r\n", 404, "GET /nothing: not found"),
    ):
        with line(served.url) as old:
            old.send(sent)
            answer = old.answer()
            assert answer.status == status and answer.content["detail"].startswith(detail)
            assert answer.headers["content-type"] == "application/problem+json" and old.is_over()
    assert served.logged("none") == []


@pytest.mark.parametrize("size", [None, 1000, 7])
def test_calls_on_one_connection_are_answered_in_order_and_logged_once(served: Served, size: int | None) -> None:
    """Sent at once, without waiting for answers, and cut into pieces anywhere."""
    name = f"pipe{size}-"
    calls = [post(reading(id=f"{name}{n}", pump=f"{n}")) for n in range(6)]
    calls[2:2] = [post(reading(plant="east")), get(f"{PATH}/{name}0"), post({"id": "x"}, path="/v1/outcomes")]
    with line(served.url) as pipelined:
        pipelined.send(b"".join(calls) + post(reading(id=f"{name}0", pump="0"), "1.1", "connection: close"), size)
        answers = [pipelined.answer() for _ in range(10)]
        assert pipelined.is_over()
    assert [answer.status for answer in answers] == [200, 200, 422, 200, 422, 200, 200, 200, 200, 200]
    predictions = [answers[n].identity for n in (0, 1, 5, 6, 7, 8)]
    assert predictions == [f"{name}{n}" for n in range(6)] == sorted(served.logged(name))
    assert answers[2].content["detail"].startswith("plant: ") and answers[4].content["detail"].startswith("label: ")
    assert answers[3].content == answers[0].content["predictions"][0]
    assert answers[9].content == answers[0].content, "repeated"


def test_a_body_that_is_too_long_is_refused_and_the_next_call_on_the_connection_answered(served: Served) -> None:
    with line(served.url) as long:
        long.send(post(json.dumps(reading(id="long")).encode() + b" " * 5_000_000) + post(reading(id="next-to-long")))
        refused, answer = long.answer(), long.answer()
    assert refused.status == 413 and "longer than 4000000 bytes" in refused.content["detail"]
    assert answer.status == 200 and answer.identity == "next-to-long"
    assert served.logged("long") == [] and served.logged("next-to-long") == ["next-to-long"]
