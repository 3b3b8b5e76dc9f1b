"""A plan names the sha256 of each model: a model trained later into a registered folder is not served."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.context import build_context
from pipelines.serving.app import create_app
from pipelines.steps import execute
from tests.conftest import TOY
from tests.homes import put_back
from tests.serving.conftest import App, reading, registered

FAMILY = "mlp"  # a family whose weights depend on the seed


@pytest.fixture
def own(serve: Callable[..., App]) -> App:
    return serve(own_home=True)


def folder(app: App) -> str:
    return app.context.data.uri("models", "r1", FAMILY)


def train_again(app: App) -> str:
    """Train under the same run with another seed; gives the sha256 of the new model in the folder."""
    training_set = app.context.data.uri("training_sets", "r1")
    given = {"training_set_uri": training_set, "run": "r1", "family": FAMILY, "trials": 1, "seed": 7}
    before, model = registered(folder(app)), execute("train", given, app.context)
    assert before != (folder(app), model["sha256"]) == registered(model["model_uri"])
    return str(model["sha256"])


@contextmanager
def restarted(app: App) -> Iterator[App]:
    """Another server over the same home and records."""
    context = build_context(TOY, app.context.settings.home)
    with TestClient(create_app(context)) as http:
        yield App(app.model_home, context, app.clock, http)


def test_a_retrained_champion_folder_is_not_served_after_a_restart(
    own: App, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = own.plan(champion_uri=folder(own), challenger=None, challenger_uri=None).champion_sha256
    before = own.ask(reading())[0]["score"]
    kept = Path(shutil.copytree(folder(own), tmp_path / "kept"))
    other = train_again(own)
    assert own.ask(reading())[0]["score"] == before, "a server that has loaded it keeps serving it"
    with restarted(own) as again:
        why = f"sha256 {other[:12]}, registered is {known[:12]}"
        assert why in caplog.text
        assert again.http.get("/healthz").status_code == 200
        ready = again.http.get("/readyz")
        assert ready.status_code == 503 and why in ready.json()["detail"]
        refused = again.http.post("/v1/predictions", json=reading(id="x"))
        message = refused.json()["detail"]
        assert refused.status_code == 503 and why in message and "champion 1" in message
        assert again.log.get(["x"]) == []
        again.plan(champion="2", champion_uri=again.model_home.models["1"])
        assert again.ask(reading())[0]["version"] == "2", "another version serves once it is in force"
    own.plan(champion="1", champion_uri=folder(own), champion_sha256=known)
    put_back(Path(folder(own)), kept)
    with restarted(own) as again:
        (answer,) = again.ask(reading())
        assert (answer["version"], answer["score"]) == ("1", before)


def test_the_champion_keeps_serving_after_a_restart_where_the_challenger_folder_was_retrained(own: App) -> None:
    known = own.plan(challenger_uri=folder(own), share=1.0).challenger_sha256
    assert own.ask(reading())[0]["version"] == "2"
    train_again(own)
    with restarted(own) as again:
        (answer,) = again.ask(reading())
        assert answer["version"] == "1"
        (row,) = again.log.get([answer["id"]])
        ready = again.http.get("/readyz").json()
        assert ready["ready"] and ready["loaded"] == {"1": True, "2": False}
        for message in (row.errors["2"], ready["problems"][0]):
            assert f"registered is {str(known)[:12]}" in message


def test_a_plan_without_the_digest_of_its_challenger_serves_no_challenger(own: App) -> None:
    own.plan(challenger_uri=folder(own), challenger_sha256=None, share=1.0)
    assert own.ask(reading())[0]["version"] == "1"


def test_a_retrained_folder_that_is_registered_again_is_served_as_the_new_version(own: App) -> None:
    own.plan(champion_uri=folder(own), challenger=None, challenger_uri=None)
    own.ask(reading())
    sha256 = train_again(own)
    own.plan(champion="3", champion_sha256=sha256)  # the same folder, and the old model is still in memory
    examples = own.model_home.examples
    answers = own.ask(*(reading(row) for row in examples.itertuples()))
    assert {answer["version"] for answer in answers} == {"3"}
    scores = load_scorer(own.context.data.store, ModelRef(folder(own), sha256)).score(examples)
    np.testing.assert_allclose([answer["score"] for answer in answers], scores, atol=1e-5)
