"""A toy model server over what the chain made: two trained versions, a real online store, a clock that tests drive."""

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
from pipelines.serving.protocol import PredictionProtocol
from pipelines.usecase import inputs_of
from tests.conftest import TOY, run_data, run_training
from tests.homes import copy_home

PATIENT = {"shadow_wait_ms": 60_000, "challenger_wait_ms": 60_000}
START, END = date(2024, 3, 1), date(2024, 4, 20)  # features are known up to the end


@dataclass(frozen=True)
class Made:
    """What the chain left: model folders by version, and the last day's examples with their offline features."""

    home: Path
    models: dict[str, str]
    examples: pd.DataFrame

    @property
    def at(self) -> datetime:
        """The instant at which the last day's predictions were due."""
        return self.examples.predicted_at.iloc[0].to_pydatetime()  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    home = tmp_path_factory.mktemp("served")
    context = build_context(TOY, home)
    data = run_data(context, START, END)
    trained = run_training(context, END, "r1", data["snapshot"]["data_version"])
    models = {str(number): model["model_uri"] for number, model in enumerate(trained["train"], start=1)}
    examples = load_examples(context, context.window(END - timedelta(1), END))
    service = context.params.features.service
    return Made(home, models, feature_frame(context, examples, service, inputs_of(context.usecase, service)))


def scores_of(rows: Iterable[Prediction], version: str) -> list[float]:
    """What a version says of each row; none lacks its score."""
    scores = [row.scores[version] for row in rows]
    known = [score for score in scores if score is not None]
    assert len(known) == len(scores)
    return known


def registered(uri: str) -> tuple[str, str]:
    """A model's folder, and the sha256 that registration would find in it."""
    card = Path(uri) / "model.json"
    return uri, json.loads(card.read_text())["sha256"]["model.onnx"] if card.exists() else "0" * 64


def half_each(made: Made) -> Plan:
    """The first plan: version 1 with 2 as a challenger that answers half."""
    one, two = (registered(made.models[version]) for version in "12")
    return Plan(1, "r", "50", "1", *one, "2", *two, 0.5, made.at)


@dataclass
class Deck:
    """A running app with what it stands on."""

    made: Made
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
        """Put the next plan in force, by default `half_each`; a folder that is named has what is registered."""
        for side in ("champion", "challenger"):
            if uri := changes.get(f"{side}_uri"):
                changes.setdefault(f"{side}_sha256", registered(uri)[1])
        before = self.plans.current()
        plan = replace(before or half_each(self.made), version=before.version + 1 if before else 1, **changes)
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
def serve(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Deck]]:
    """Starts the app over the session's home, or a private copy of it, with records of its own.

    Answers wait for the challenger, however busy the machine is.
    """
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", f"sqlite:///{tmp_path / 'records.db'}")
    monkeypatch.setattr(beside, "PAUSES", 10**9)
    with ExitStack() as stack:

        def start(own_home: bool = False, **rules: Any) -> Deck:
            """`rules` are of `serving` in params."""
            home = copy_home(made.home, tmp_path / "home") if own_home else made.home
            context = build_context(TOY, home)
            context = replace(context, params=context.params.model_copy(update={"serving": Serving(**PATIENT | rules)}))
            clock = ReplayClock(context.records.simulated_time("pumps"))
            clock.start(made.at)
            http = stack.enter_context(TestClient(create_app(context), raise_server_exceptions=True))
            return Deck(made, context, clock, http)

        yield start


@contextmanager
def listening(deck: Deck, **more: Any) -> Iterator[str]:
    """Within, the app answers at this URL as well, by uvicorn with these options."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        options: dict[str, Any] = {"http": PredictionProtocol, "proxy_headers": False, "log_level": "error", **more}
        config = uvicorn.Config(deck.http.app, lifespan="off", workers=1, **options)
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
def context(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A plan and a clock, in records of their own, for servers that are processes."""
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", f"sqlite:///{tmp_path / 'records.db'}")
    context = build_context(TOY, made.home)
    ReplayClock(context.records.simulated_time("pumps")).start(made.at)
    context.plans.replace(half_each(made))
    return context


@pytest.fixture
def deck(serve: Callable[..., Deck]) -> Deck:
    """A server with a plan in force."""
    started = serve()
    started.plan()
    return started
