"""A toy model server over the outputs of a chain: two trained versions, a real online store, a clock set by tests."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import uvicorn
from starlette.testclient import TestClient

from pipelines.clock import ReplayClock
from pipelines.context import Context, build_context
from pipelines.params.serving import Serving
from pipelines.point_in_time import feature_frame, load_examples
from pipelines.records import Plan, Plans, Prediction, PredictionLog
from pipelines.serving import beside
from pipelines.serving.app import create_app
from pipelines.serving.predict import Predictor
from pipelines.serving.protocol import PredictionProtocol
from pipelines.usecase import inputs_of
from tests.conftest import TOY, run_data, run_training
from tests.homes import copy_home

PATIENT = {"shadow_wait_ms": 60_000, "challenger_wait_ms": 60_000}
START, END = date(2024, 3, 1), date(2024, 4, 20)  # features are known up to the end


@dataclass(frozen=True)
class ModelHome:
    """A home after its chain: model folders by version, and the last day's examples with their offline features."""

    home: Path
    models: dict[str, str]
    examples: pd.DataFrame

    @property
    def at(self) -> datetime:
        """The instant at which the last day's predictions were due."""
        return self.examples.predicted_at.iloc[0].to_pydatetime()  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def model_home(tmp_path_factory: pytest.TempPathFactory) -> ModelHome:
    home = tmp_path_factory.mktemp("served")
    context = build_context(TOY, home)
    data = run_data(context, START, END)
    trained = run_training(context, END, "r1", data["snapshot"]["data_version"])
    models = {str(number): model["model_uri"] for number, model in enumerate(trained["train"], start=1)}
    examples = load_examples(context, context.window(END - timedelta(1), END))
    service = context.params.features.service
    return ModelHome(home, models, feature_frame(context, examples, service, inputs_of(context.usecase, service)))


def scores_of(rows: Iterable[Prediction], version: str) -> list[float]:
    """The scores of a version for all rows; none may be missing."""
    scores = [row.scores[version] for row in rows]
    known = [score for score in scores if score is not None]
    assert len(known) == len(scores)
    return known


def registered(uri: str) -> tuple[str, str]:
    """A model's folder, and the sha256 that registration would record."""
    card = Path(uri) / "model.json"
    return uri, json.loads(card.read_text())["sha256"]["model.onnx"] if card.exists() else "0" * 64


def half_each(model_home: ModelHome) -> Plan:
    """The first plan: version 1, and 2 as a challenger that answers half of the requests."""
    one, two = (registered(model_home.models[version]) for version in "12")
    return Plan(1, "r", "50", "1", *one, "2", *two, 0.5, model_home.at)


@dataclass
class App:
    """A running app with its home, context and clock."""

    model_home: ModelHome
    context: Context
    clock: ReplayClock
    http: TestClient

    @property
    def plans(self) -> Plans:
        return self.context.plans

    @property
    def log(self) -> PredictionLog:
        return self.context.predictions

    def plan(self, **changes: Any) -> Plan:
        """Put the next plan in force, by default `half_each`; folders in `changes` get their digests."""
        for side in ("champion", "challenger"):
            if uri := changes.get(f"{side}_uri"):
                changes.setdefault(f"{side}_sha256", registered(uri)[1])
        before = self.plans.current()
        plan = replace(before or half_each(self.model_home), version=before.version + 1 if before else 1, **changes)
        assert self.plans.replace(plan)
        return plan

    def ask(self, *requests: Any) -> list[dict[str, Any]]:
        answer = self.http.post("/v1/predictions", json={"requests": list(requests)})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["predictions"])

    def metric(self, name: str, **labels: str) -> float:
        registry = self.http.app.state.server.metrics.registry  # type: ignore[attr-defined]
        return registry.get_sample_value(f"flightdeck_{name}", labels) or 0.0


def reading(row: Any = None, **changes: Any) -> dict[str, Any]:
    """A request: an example's, or one of pump 1."""
    sent = {"pump": "1", "plant": "south", "load": 0.5, "read_at": "2024-04-19T05:30:00+00:00"}
    if row is not None:
        sent = {"pump": row.pump, "plant": row.plant, "load": row.load, "read_at": row.read_at.isoformat()}
    return {**sent, **changes}


@pytest.fixture
def serve(model_home: ModelHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., App]]:
    """Starts the app over the session's home, or a private copy of it, with records of its own.

    Answers wait for the challenger, however busy the machine is.
    """
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", f"sqlite:///{tmp_path / 'records.db'}")
    monkeypatch.setattr(beside, "PAUSES", 10**9)
    with ExitStack() as stack:

        def start(own_home: bool = False, **rules: Any) -> App:
            """`rules`: values of the params' section `serving`."""
            home = copy_home(model_home.home, tmp_path / "home") if own_home else model_home.home
            context = build_context(TOY, home)
            context = replace(context, params=context.params.model_copy(update={"serving": Serving(**PATIENT | rules)}))
            clock = ReplayClock(context.records.simulated_time("pumps"))
            clock.start(model_home.at)
            http = stack.enter_context(TestClient(create_app(context), raise_server_exceptions=True))
            return App(model_home, context, clock, http)

        yield start


class Hold:
    """Runs that have begun and wait until the test frees them."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Every run waits in a thread, as one that the online store keeps waiting."""
    held, answer = Hold(), Predictor.answer

    def waiting(predictor: Predictor, calls: Any) -> Any:
        held.begun.set()
        assert held.free.wait(60)
        return answer(predictor, calls)

    monkeypatch.setattr(Predictor, "answer_at_once", lambda *_: None)
    monkeypatch.setattr(Predictor, "answer", waiting)
    return held


@contextmanager
def listening(app: App, **more: Any) -> Iterator[str]:
    """A context manager in which the app also answers at a URL, through uvicorn with these options."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        options: dict[str, Any] = {"http": PredictionProtocol, "proxy_headers": False, "log_level": "error", **more}
        config = uvicorn.Config(app.http.app, lifespan="off", workers=1, **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def context(model_home: ModelHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A plan and a clock, in records of their own, for servers that are processes."""
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", f"sqlite:///{tmp_path / 'records.db'}")
    context = build_context(TOY, model_home.home)
    ReplayClock(context.records.simulated_time("pumps")).start(model_home.at)
    context.plans.replace(half_each(model_home))
    return context


@pytest.fixture
def app(serve: Callable[..., App]) -> App:
    """A server with a plan in force."""
    started = serve()
    started.plan()
    return started
