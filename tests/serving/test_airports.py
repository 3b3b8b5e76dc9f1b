"""What a server of the flights makes of airports that do not exist: by the rules of its request model."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from pipelines.clock import WallClock
from pipelines.context import Context
from pipelines.serving.app import create_app
from tests.flights.test_request import SENT


@pytest.fixture
def http(flights: Context) -> TestClient:
    return TestClient(create_app(flights.replaced(clock=WallClock())))


def test_a_flight_from_an_airport_that_does_not_exist_is_refused_by_its_name(http: TestClient) -> None:
    for origin in ("ZZZ", "SFO"):  # nor is one predicted that leaves from elsewhere
        answer = http.post("/v1/predictions", json={"requests": [SENT, {**SENT, "origin": origin}]})
        assert answer.status_code == 422
        problem = f"should be 'EWR', 'JFK' or 'LGA' (got '{origin}')"
        assert answer.json()["detail"] == f"requests[1]: origin: {problem}"
        assert answer.json()["problems"] == [{"item": 1, "field": "origin", "problem": problem}]


def test_a_destination_without_history_is_an_unknown_one(http: TestClient) -> None:
    """A new airport is no error of the client; without a plan the server gets no further than its request."""
    answer = http.post("/v1/predictions", json={**SENT, "dest": "ZZZ"})
    assert answer.status_code == 503 and "there is no routing plan yet" in answer.json()["detail"]
    for dest in ("ZZ", "ZZZZ", "zzz", "ZZ\u0396"):
        answer = http.post("/v1/predictions", json={**SENT, "dest": dest})
        assert answer.status_code == 422 and answer.json()["detail"].startswith("dest: ")
