"""Predictions over HTTP: equal to offline scores, scored by both versions, logged before they are answered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.artifacts.seal import sealed
from pipelines.records import Prediction
from pipelines.serving.needs import logged_names, needs_of
from pipelines.traffic import serves_challenger
from pipelines.usecase import Block
from tests.predictions import read_log
from tests.serving.conftest import App, reading, scores_of
from tests.toy import Pumps

NOON = datetime(2024, 4, 19, 12, tzinfo=UTC)


def test_online_and_offline_scores_are_the_same(app: App) -> None:
    examples = app.model_home.examples
    answers = app.ask(*(reading(row) for row in examples.itertuples()))
    logged = {row.prediction_id: row for row in app.log.get([answer["id"] for answer in answers])}
    rows = [logged[answer["id"]] for answer in answers]
    assert len(rows) == len(examples) > 50
    cards = {}
    for version, uri in app.model_home.models.items():
        scorer = load_scorer(app.context.data.store, ModelRef(uri))
        offline = scorer.score(examples)
        np.testing.assert_allclose(scores_of(rows, version), offline, atol=1e-5)
        again = scorer.score(pd.DataFrame([dict(row.features) for row in rows]))
        np.testing.assert_allclose(scores_of(rows, version), again, atol=1e-7)
        cards[version] = scorer.model.card
    assert len({answer["decision"] for answer in answers}) == 2
    for row, answer, example in zip(rows, answers, examples.itertuples(), strict=True):
        score, card = row.scores[row.served], cards[row.served]
        expected = {"id": row.prediction_id, "score": score, "version": row.served, "plan": 1, "lacks": None}
        assert answer == {**expected, "decision": score is not None and score >= card.threshold.value}
        assert row.served == ("2" if serves_challenger("r", str(example.pump), 0.5) else "1")
        assert (row.entity, row.block, row.predicted_at) == (example.pump, "2024-04-19", app.model_home.at)
        assert row.closes_at == datetime(2024, 4, 19, 22, tzinfo=UTC), "midnight in Berlin"
        assert set(row.features) == {"load", "hour", "heat_3d", "age", "plant"} and row.ages["heat_3d"] == 300
        assert not row.errors and row.share == 0.5
    assert {row.served for row in rows} == {"1", "2"}
    assert app.metric("predictions_total", version="1") + app.metric("predictions_total", version="2") == len(rows)


def test_a_server_counts_its_own_calls_only(serve: Callable[..., App]) -> None:
    apps = [serve(), serve()]  # over the same records
    apps[0].plan()
    for app, rows in zip(apps, (3, 2), strict=True):
        app.ask(*[reading()] * rows)
        assert app.metric("predictions_total", version="1") + app.metric("predictions_total", version="2") == rows
        assert app.metric("http_requests_total", endpoint="predictions", status="200") == 1
        assert app.metric("http_request_seconds_bucket", endpoint="predictions", le="+Inf") == 1
        for version in ("1", "2"):
            assert app.metric("scoring_seconds_count", version=version) == 1, (
                "one time for the run, not one for each row"
            )
        assert app.metric("routing_plan") == 1


def test_one_request_is_answered_as_a_list_of_one(app: App) -> None:
    answer = app.http.post("/v1/predictions", json=reading())
    assert answer.status_code == 200 and len(answer.json()["predictions"]) == 1


def test_freshness_is_judged_by_the_clock(app: App) -> None:
    def ask() -> Any:
        (answer,) = app.ask(reading())
        return app.log.get([answer["id"]])[0]

    assert ask().features["heat_3d"] is not None
    app.clock.advance(app.model_home.at + timedelta(days=1, hours=23))
    assert ask().features["heat_3d"] is not None
    app.clock.advance(app.model_home.at + timedelta(days=2))
    late = ask()
    assert late.features["heat_3d"] is None and late.ages["heat_3d"] == 2 * 86400 + 300
    assert late.features["age"] is not None, "a feature without ttl never expires"
    assert app.metric("features_stale_total", view="pump_heat") == 1
    app.clock.start(app.model_home.at - timedelta(days=1))
    early = ask()
    assert early.features["heat_3d"] is None, "rows of the future are not served"
    assert app.metric("features_stale_total", view="pump_heat") == 2
    assert app.metric("features_missing_total", view="pump_heat") == 0


def test_an_unknown_entity_is_scored_and_counted(app: App) -> None:
    (answer,) = app.ask(reading(pump="9999", load=None))
    (row,) = app.log.get([answer["id"]])
    assert row.features == {"load": None, "hour": 7.0, "heat_3d": None, "age": None, "plant": "south"}
    assert row.ages == {"heat_3d": None, "age": None} and 0 <= answer["score"] <= 1
    assert app.metric("features_missing_total", view="pump_heat") == 1
    assert app.metric("features_missing_total", view="pump_maker") == 1


def test_a_repeated_id_gets_the_first_answer(app: App) -> None:
    first = app.ask(reading(id="a"), reading(id="b", pump="2"))
    app.plan(share=1.0)
    app.clock.advance(app.model_home.at + timedelta(days=3))
    again = app.ask(reading(id="b", pump="2"), reading(id="c"), reading(id="a"))
    assert [again[2], again[0]] == first and again[1]["plan"] == 2
    assert len(read_log(app.log)) == 3


def test_an_independent_request_is_a_block_of_its_own(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pumps, "block", lambda *_: None)
    named, unnamed = app.ask(reading(id="mine"), reading())
    for row in app.log.get(["mine", unnamed["id"]]):
        assert row.block == row.prediction_id and row.closes_at == row.predicted_at == app.model_home.at
    assert named["id"] == "mine" and app.ask(reading(id="mine")) == [named]


def test_a_block_may_be_any_text_and_a_request_that_comes_late_is_answered(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = app.model_home.at - timedelta(hours=1)
    monkeypatch.setattr(Pumps, "block", lambda _, request, at: Block(f"{request['plant']}/{at:%H}", closed))
    (answer,) = app.ask(reading())
    (row,) = app.log.get([answer["id"]])
    assert (row.block, row.closes_at) == (f"south/{app.model_home.at:%H}", closed)


@pytest.mark.parametrize(
    "block",
    [
        date(2024, 4, 19),
        "2024-04-19",
        Block("", NOON),
        Block("x" * 129, NOON),
        Block("a\nb", NOON),
        Block("naive", NOON.replace(tzinfo=None)),
        Block("for ever", datetime.max.replace(tzinfo=UTC)),
        ("a day", NOON.date()),
    ],
    ids=repr,
)
def test_a_block_that_cannot_be_logged_is_refused_by_name_and_nothing_logged(
    app: App, monkeypatch: pytest.MonkeyPatch, block: Any
) -> None:
    monkeypatch.setattr(Pumps, "block", lambda *_: block)
    answer = app.http.post("/v1/predictions", json=reading())
    assert answer.status_code == 422
    assert "`block` of the use case pumps gives" in answer.json()["detail"] and "time zone" in answer.json()["detail"]
    assert read_log(app.log) == []


def test_an_id_of_another_request_is_refused_and_nothing_logged(app: App) -> None:
    app.ask(reading(id="a"))
    other = app.http.post("/v1/predictions", json={"requests": [reading(id="new"), reading(id="a", load=9.0)]})
    assert other.status_code == 409 and "'a' was used for another request" in other.json()["detail"]
    apart = app.http.post("/v1/predictions", json={"requests": [reading(id="new"), reading(id="new", load=9.0)]})
    assert apart.status_code == 409 and "request 1: the id 'new' was used" in apart.json()["detail"]
    assert app.log.get(["new"]) == []


def test_an_id_given_twice_in_a_call_is_answered_twice_and_logged_once(app: App) -> None:
    (old,) = app.ask(reading(id="old"))
    answers = app.ask(reading(id="a"), reading(id="old"), reading(pump="2"), reading(id="a"), reading(id="old"))
    assert answers[0] == answers[3] and answers[1] == answers[4] == old
    assert [answer["id"] for answer in answers[:2]] == ["a", "old"]
    assert len(read_log(app.log)) == 3 and app.metric("http_requests_total", endpoint="predictions", status="200") == 2


def broken(app: App, tmp_path: Path, name: str, change: Callable[[Path], Any]) -> str:
    """A copy of version 2 with a fault."""
    folder = shutil.copytree(app.model_home.models["2"], tmp_path / name)
    change(folder)
    return str(folder)


def edit_card(folder: Path, old: str, new: str) -> None:
    """Change model.json as training would have written it."""
    card = json.loads((folder / "model.json").read_text().replace(old, new))
    (folder / "model.json").write_text(json.dumps(sealed(card, "model.json")))


def test_where_the_assigned_version_fails_the_other_answers(app: App, tmp_path: Path) -> None:
    def wants_more(folder: Path) -> None:
        edit_card(folder, '"load"', '"pressure"')

    app.plan(share=1.0, challenger_uri=broken(app, tmp_path, "wants", wants_more))
    (answer,) = app.ask(reading())
    (row,) = app.log.get([answer["id"]])
    assert (row.served, row.score) == ("1", row.scores["1"]) and row.scores["2"] is None
    assert "pressure" in row.errors["2"] and app.metric("version_errors_total", version="2") == 1
    app.plan(champion_uri=broken(app, tmp_path, "both", wants_more), challenger=None)
    nobody = app.http.post("/v1/predictions", json=reading(id="x"))
    assert nobody.status_code == 503 and "could not be scored" in nobody.json()["detail"]
    assert app.log.get(["x"]) == []


def test_a_challenger_that_cannot_be_loaded_leaves_the_champion_serving(app: App, tmp_path: Path) -> None:
    def altered(folder: Path) -> None:
        (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"x")

    for name, change in (("altered", altered), ("gone", shutil.rmtree)):
        app.plan(share=1.0, challenger_uri=broken(app, tmp_path, name, change))
        (answer,) = app.ask(reading())
        assert answer["version"] == "1"
        ready = app.http.get("/readyz")
        assert ready.status_code == 200 and ready.json()["loaded"] == {"1": True, "2": False}
        assert "challenger 2" in ready.json()["problems"][0]
        assert app.metric("model_loaded", version="2") == 0 and app.metric("model_loaded", version="1") == 1
    app.plan(share=1.0, challenger_uri=app.model_home.models["2"])
    assert app.ask(reading())[0]["version"] == "2"


def test_a_champion_that_cannot_be_loaded_leaves_the_previous_plan_in_force(app: App, tmp_path: Path) -> None:
    before = app.ask(reading())[0]
    app.plan(champion="3", champion_uri=str(tmp_path / "nowhere"), challenger=None, challenger_uri=None)
    assert {key: app.ask(reading())[0][key] for key in ("version", "plan", "score")} == {
        key: before[key] for key in ("version", "plan", "score")
    }
    ready = app.http.get("/readyz").json()
    assert ready["plan"] == 1 and "plan 2: champion 3" in ready["problems"][0]
    assert app.http.get("/v1/rollout").json()["plan"]["version"] == 2


def on_another_service(app: App, tmp_path: Path) -> str:
    """Version 2 as if trained on a service whose view of the heat expires later; the app needs a home of its own."""
    from feast import FeatureService, FeatureView, Field, FileSource
    from feast.types import Float32, String

    feast = app.context.feast
    source = FileSource(name="pump_heat_2", path="features/pump_heat", timestamp_field="known_at")
    patient = FeatureView(
        name="pump_heat_2",
        entities=[feast.get_entity("pump")],
        ttl=timedelta(days=10),
        schema=[Field(name="pump", dtype=String), Field(name="heat_3d", dtype=Float32)],
        source=source,
    )
    feast.apply(
        [patient, FeatureService(name="pump_service_v2", features=[patient, feast.get_feature_view("pump_maker")])]
    )
    feast.materialize(app.model_home.at - timedelta(days=9), app.model_home.at, ["pump_heat_2"])
    folder = shutil.copytree(app.model_home.models["2"], tmp_path / "v2")
    edit_card(folder, "pump_service_v1", "pump_service_v2")
    return str(folder)


def test_versions_on_other_feature_services_are_both_read_and_logged(serve: Callable[..., App], tmp_path: Path) -> None:
    app = serve(own_home=True)
    app.plan(challenger_uri=on_another_service(app, tmp_path))
    app.clock.advance(app.model_home.at + timedelta(days=3))
    (answer,) = app.ask(reading())
    (row,) = app.log.get([answer["id"]])
    assert set(row.features) == {"load", "hour", "pump_heat:heat_3d", "pump_heat_2:heat_3d", "age", "plant"}
    assert row.features["pump_heat:heat_3d"] is None and row.features["pump_heat_2:heat_3d"] is not None
    assert not row.errors and set(row.scores) == {"1", "2"}


def test_the_server_is_alive_but_not_ready_until_there_is_a_plan(serve: Callable[..., App]) -> None:
    app = serve()
    assert app.http.get("/healthz").status_code == 200
    assert app.http.get("/v1/rollout").json() == {"plan": None}
    for answer in (app.http.get("/readyz"), app.http.post("/v1/predictions", json=reading())):
        assert answer.status_code == 503 and "no routing plan" in answer.text
    app.plan(champion_uri="nowhere", challenger=None)
    assert app.http.get("/readyz").status_code == 503
    app.plan(champion_uri=app.model_home.models["1"])
    readiness = app.http.get("/readyz").json()
    assert readiness == {"ready": True, "plan": 2, "loaded": {"1": True}, "problems": readiness["problems"]}
    assert "and the clock says 2024-04-19T05:40:00+00:00: newer rows are left out" in readiness["problems"][0]


@pytest.mark.parametrize("place", ["records", "registry", "online"])
def test_calls_get_a_503_and_are_not_half_logged_while_the_database_is_down(
    serve: Callable[..., App], place: str
) -> None:
    import sqlite3

    import sqlalchemy as sa

    app = serve(own_home=place != "records")
    app.plan()
    app.ask(reading(id="before"))
    if place == "records":
        sa.event.listen(app.context.records.engine, "connect", lambda c, _: c.execute("pragma busy_timeout = 50"))
        app.context.records.engine.dispose()
        path = app.context.records.engine.url.database
        holder = sqlite3.connect(str(path), isolation_level=None)
        holder.execute("begin immediate")
    else:
        settings = app.context.settings
        file = (settings.registry("pumps") if place == "registry" else settings.online_path("pumps")).removeprefix(
            "sqlite:///"
        )
        for part in Path(file).parent.glob(Path(file).name + "*"):  # with the changes that are still in SQLite's log
            part.write_bytes(b"no database" * max(1000, part.stat().st_size // 11))
    if place != "registry":  # predictions continue with the registry that Feast holds in memory
        answer = app.http.post("/v1/predictions", json={"requests": [reading(id="a"), reading(id="b")]})
        assert answer.status_code == 503 and "unavailable" in answer.json()["detail"], answer.text
        assert answer.headers["retry-after"] == "1"
    if place == "records":
        outcome = app.http.post("/v1/outcomes", json={"id": "before", "label": 1})
        assert outcome.status_code == 503
        holder.execute("rollback")
        assert len(app.ask(reading(id="a"), reading(id="b"))) == 2
    else:
        assert app.log.get(["a", "b"]) == []
    if place == "registry":
        assert app.http.get("/readyz").status_code == 503


def rescored(app: App, models: dict[str, str], rows: list[Prediction]) -> dict[str, np.ndarray]:
    """Scores of each version for the logged features, under the names of the log."""
    scorers = {version: load_scorer(app.context.data.store, ModelRef(uri)) for version, uri in models.items()}
    services = {version: scorer.model.card.training_set.feature_service for version, scorer in scorers.items()}
    needs = [
        needs_of(app.context.feast, services[version], scorer.inputs, app.context.usecase)
        for version, scorer in scorers.items()
    ]
    return {
        version: scorer.score(pd.DataFrame([{name: row.features[of] for name, of in names.items()} for row in rows]))
        for (version, scorer), names in zip(scorers.items(), logged_names(needs), strict=True)
    }


def logged(app: App, *requests: dict[str, Any]) -> list[Prediction]:
    """The rows of these requests, with their scores by both versions."""
    ids = [answer["id"] for answer in app.ask(*requests)]
    by_id = {row.prediction_id: row for row in app.log.get(ids)}
    assert all(set(row.scores) == {"1", "2"} and not row.errors for row in by_id.values())
    return [by_id[identity] for identity in ids]


def test_logged_features_give_the_logged_scores_also_where_values_were_missing(app: App) -> None:
    examples = [*app.model_home.examples.itertuples()]
    rows = logged(
        app,
        *(reading(row) for row in examples),
        *(reading(row, load=None) for row in examples),
        *(reading(row, pump=f"9{row.pump:0>3}") for row in examples),
    )
    app.clock.advance(app.model_home.at + timedelta(days=3))
    rows += logged(app, *(reading(row, load=None) for row in examples), reading(pump="9999", load=None))
    absent = {tuple(name for name, value in row.features.items() if value is None) for row in rows}
    assert absent == {(), ("load",), ("heat_3d", "age"), ("load", "heat_3d"), ("load", "heat_3d", "age")}
    for version, scores in rescored(app, app.model_home.models, rows).items():
        np.testing.assert_allclose(scores_of(rows, version), scores, rtol=0, atol=1e-5)


def test_the_log_holds_both_values_where_versions_read_one_name_from_two_views(
    serve: Callable[..., App], tmp_path: Path
) -> None:
    app = serve(own_home=True)
    models = {"1": app.model_home.models["1"], "2": on_another_service(app, tmp_path)}
    app.plan(challenger_uri=models["2"])
    app.clock.advance(app.model_home.at + timedelta(days=3))
    rows = logged(app, *(reading(row) for row in app.model_home.examples.itertuples()))
    for version, scores in rescored(app, models, rows).items():
        np.testing.assert_allclose(scores_of(rows, version), scores, rtol=0, atol=1e-5)
    swapped = [replace(row, features={**row.features, "pump_heat_2:heat_3d": None}) for row in rows]
    offline_scores = np.array([row.scores["2"] for row in rows])
    assert (np.abs(rescored(app, models, swapped)["2"] - offline_scores) > 1e-3).any(), (
        "the view that was read makes a difference"
    )


def test_an_answer_can_be_looked_up(app: App) -> None:
    (answer,) = app.ask(reading(id="a / b"))
    again = app.http.get("/v1/predictions/a%20%2F%20b")
    assert again.status_code == 200 and again.json() == answer
    nobody = app.http.get("/v1/predictions/nobody")
    assert nobody.status_code == 404 and nobody.headers["content-type"] == "application/problem+json"
    assert nobody.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no prediction has the id 'nobody'; send the id from the prediction's answer",
    }
