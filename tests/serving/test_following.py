"""On the wall clock a server follows the plan in a thread, and serves by the last plan that it could load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from pipelines.clock import WallClock
from pipelines.context import Context, build_context
from pipelines.records import Plan
from pipelines.serving.app import create_app
from pipelines.serving.routing import Router
from tests.conftest import TOY
from tests.serving.conftest import ModelHome, half_each, reading

ALONE: dict[str, Any] = {"challenger": None, "challenger_uri": None, "challenger_sha256": None, "share": 0.0}
PATIENCE = 20.0  # seconds, on a busy machine


@pytest.fixture
def context(model_home: ModelHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", f"sqlite:///{tmp_path / 'records.db'}")
    return build_context(TOY, model_home.home).replaced(clock=WallClock())


@pytest.fixture
def http(context: Context) -> Iterator[TestClient]:
    with TestClient(create_app(context)) as client:
        yield client


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def plan_of(http: TestClient) -> int | None:
    answer = http.post("/v1/predictions", json=reading())
    return int(answer.json()["predictions"][0]["plan"]) if answer.status_code == 200 else None


def test_the_server_follows_plans_and_keeps_the_last_one_that_it_could_load(
    context: Context, http: TestClient, model_home: ModelHome
) -> None:
    refused = http.post("/v1/predictions", json=reading())
    assert refused.status_code == 503 and "there is no routing plan yet" in refused.json()["detail"]
    first = half_each(model_home)
    for plan in (
        first,
        replace(first, version=2, challenger=None, challenger_uri=None, challenger_sha256=None, share=0),
    ):
        assert context.plans.replace(plan)
        eventually(lambda plan=plan: plan_of(http) == plan.version)  # type: ignore[misc]
    assert context.plans.replace(replace(first, version=3, champion_uri="memory://nowhere"))
    eventually(lambda: "plan 3: champion 1" in str(http.get("/readyz").json()["problems"]))
    assert plan_of(http) == 2


def test_models_are_loaded_while_the_current_route_serves(
    context: Context, model_home: ModelHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = half_each(model_home)
    assert context.plans.replace(replace(first, **ALONE))
    router = Router(context)
    router.follow(0.02)
    read = Router._read
    seen: list[int] = []

    def slow(of: Router, model: object) -> object:
        seen.append(router.route().plan.version)
        return read(of, model)  # type: ignore[arg-type]

    monkeypatch.setattr(Router, "_read", slow)
    assert context.plans.replace(replace(first, version=2))
    eventually(lambda: router.route().plan.version == 2)
    router.close()
    assert seen == [1] and router.route().challenger is not None


def test_without_the_records_the_route_keeps_serving_and_readiness_fails(
    context: Context, http: TestClient, model_home: ModelHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert context.plans.replace(half_each(model_home))
    eventually(lambda: plan_of(http) == 1)

    def away(*_: object) -> Plan:
        raise sa.exc.OperationalError("select", None, Exception("away"))

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.records.Plans.current", away)
        time.sleep(0.1)
        assert plan_of(http) == 1 and http.get("/readyz").status_code == 503
    assert http.get("/readyz").status_code == 200
