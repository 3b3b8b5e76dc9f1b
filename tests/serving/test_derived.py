"""Features derived from request and stored values together: the same bits in training, live, and in the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from starlette.testclient import TestClient

from pipelines.artifacts.evaluation import Evaluation, read_scored
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.clock import ReplayClock
from pipelines.context import Context, build_context
from pipelines.declare import Difference, Each, Function, Log
from pipelines.errors import InvalidInput, Unavailable
from pipelines.online.columns import ColumnReader
from pipelines.params.serving import Serving
from pipelines.point_in_time import feature_frame, load_examples
from pipelines.records import Plan, Prediction
from pipelines.replay.world import read_world
from pipelines.serving.app import create_app
from pipelines.serving.features import FeatureLayout
from pipelines.serving.needs import logged_names, needs_of
from pipelines.steps import execute
from pipelines.usecase import PREDICTED_AT, ModelInputs
from tests.conftest import TOY, run_data, run_training
from tests.serving.conftest import registered
from tests.toy_lists import DERIVED, INPUTS, Lists, parts_of

START, END = date(2024, 3, 1), date(2024, 4, 20)
SERVICE = "pump_parts_v1"


@dataclass(frozen=True)
class Trained:
    """A home after its chain: outputs by step, and the last day's examples with their features as in training."""

    params: Path
    home: Path
    outputs: dict[str, Any]
    frame: pd.DataFrame

    @property
    def at(self) -> datetime:
        return self.frame[PREDICTED_AT].iloc[0].to_pydatetime()  # type: ignore[no-any-return]

    def context(self) -> Context:
        return build_context(self.params, self.home)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("lists")
    values = yaml.safe_load(TOY.read_text()) | {"usecase": "tests.toy_lists", "cleaning": {}}
    values |= {"features": {"service": SERVICE, "parity_sample": 50, "health": {"reference_days": 7}}}
    values["training"]["families"] = ["hist_gradient_boosting"]
    params = folder / "params.yaml"
    params.write_text(yaml.safe_dump(values))
    context = build_context(params, folder / "home")
    data = run_data(context, START, END)
    outputs = run_training(context, END, "r1", data["snapshot"]["data_version"])
    examples = load_examples(context, context.window(END - timedelta(1), END))
    return Trained(params, folder / "home", outputs, feature_frame(context, examples, SERVICE, INPUTS))


def order(row: Any, **changes: Any) -> dict[str, Any]:
    """The request of an example."""
    sent = {"pump": row.pump, "plant": row.plant, "load": row.load, "read_at": row.read_at.isoformat()}
    return {**sent, "parts": row.parts, **changes}


@dataclass(frozen=True)
class Server:
    context: Context
    clock: ReplayClock
    http: TestClient

    def log(self, *requests: dict[str, Any]) -> list[Prediction]:
        """Send requests, which must be answered, and give their rows in the log."""
        answer = self.http.post("/v1/predictions", json={"requests": requests})
        assert answer.status_code == 200, answer.text
        identities = [one["id"] for one in answer.json()["predictions"]]
        rows = {row.prediction_id: row for row in self.context.predictions.get(identities)}
        return [rows[identity] for identity in identities]


@pytest.fixture
def serve(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts the app with the trained model; `rules`: values of the params' section `serving`."""
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", f"sqlite:///{tmp_path / 'records.db'}")
    with ExitStack() as stack:

        def start(**rules: Any) -> Server:
            context = trained.context()
            context = replace(context, params=context.params.model_copy(update={"serving": Serving(**rules)}))
            clock = ReplayClock(context.records.simulated_time(context.usecase.name))
            clock.start(trained.at)
            model = registered(trained.outputs["train"][0]["model_uri"])
            assert context.plans.replace(Plan(1, "", "", "1", *model, "", "", "", 0.0, trained.at))
            http = stack.enter_context(TestClient(create_app(context), raise_server_exceptions=True))
            return Server(context, clock, http)

        yield start


def assert_same(logged: Prediction, row: Any) -> None:
    """Check that each logged input has the same bits as in training."""
    for name in INPUTS.numeric:
        value = logged.features[name]
        expected = getattr(row, name)
        assert (value is None and np.isnan(expected)) or np.float32(value) == expected, (name, value, expected)
    for name in INPUTS.categorical:
        assert logged.features[name] == getattr(row, name), name


def test_training_serving_and_the_log_have_the_same_bits(trained: Trained, serve: Callable[..., Server]) -> None:
    frame, server = trained.frame, serve()
    logged = server.log(*(order(row) for row in frame.itertuples()))
    assert len(logged) == len(frame) == 60
    scorer = load_scorer(server.context.data.store, ModelRef(trained.outputs["train"][0]["model_uri"]))
    scores = np.array([row.score for row in logged], dtype=np.float64)
    assert np.abs(scores - scorer.score(frame)).max() < 1e-6
    for one, row in zip(logged, frame.itertuples(), strict=True):
        assert_same(one, row)
        assert one.request["parts"] == row.parts == parts_of(str(row.pump), 19) and not one.errors
        assert set(one.ages) == {"heat_3d"}, "derived inputs have no age of their own"
    by_pump = frame.set_index("pump")
    assert by_pump.days_since.notna().sum() > 30 and by_pump.known_parts.max() >= 3
    assert by_pump.known_parts[["0", "6"]].tolist() == [0, 0], "an empty list counts no part"
    assert np.isnan(by_pump.mean_wear["0"]) and np.isnan(by_pump.known_parts["1"]), (
        "without a list the count is missing"
    )


def test_a_request_gets_the_same_answer_alone_and_in_a_batch(trained: Trained, serve: Callable[..., Server]) -> None:
    server = serve()
    for row in trained.frame.iloc[10:16].itertuples():
        (logged,) = server.log(order(row))
        assert_same(logged, row)


def test_a_run_reads_the_store_once_for_requests_and_list_elements(
    trained: Trained, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, reads, read = serve(), [], ColumnReader.read

    def noted(reader: ColumnReader, keys: Any, rows: int, at: int) -> Any:
        reads.append(rows)
        return read(reader, keys, rows, at)

    monkeypatch.setattr(ColumnReader, "read", noted)
    server.log(*(order(row) for row in trained.frame.itertuples()))
    elements = [part for parts in trained.frame.parts for part in parts or () if part is not None]
    assert reads == [60 + len(elements)]


def test_a_stale_value_is_missing_in_features_derived_from_it(trained: Trained, serve: Callable[..., Server]) -> None:
    server = serve()
    row = next(trained.frame[trained.frame.pump == "11"].itertuples())
    (fresh,) = server.log(order(row, parts=["0", "8", "10"]))
    assert fresh.features["known_parts"] == 1 and fresh.lacks == "stale", "part 8 has a row that is too old"
    server.clock.advance(trained.at + timedelta(days=3))
    (stale,) = server.log(order(row))
    assert stale.lacks == "stale" and stale.features["known_parts"] == 0
    derived = ("days_since", "load_change", "load_ratio", "log_days", "plant_grade", "mean_wear", "stock")
    assert [stale.features[name] for name in derived] == [None] * len(derived)
    assert stale.features["load_bin"] == fresh.features["load_bin"], "inputs from the request are kept"
    counted = server.http.get("/metrics").text
    assert 'flightdeck_features_stale_total{view="pump_last"} 3.0' in counted, "last_at, last_load and grade"


def test_a_pump_and_parts_unknown_to_the_store_are_scored(trained: Trained, serve: Callable[..., Server]) -> None:
    row = next(trained.frame.itertuples())
    (logged,) = serve().log(order(row, pump="999", parts=["77", None, "77"]))
    assert logged.features["days_since"] is None and logged.features["mean_wear"] is None
    assert logged.features["known_parts"] == 0 and logged.features["many"] == "True" and logged.lacks is None


def test_without_the_online_store_all_features_that_depend_on_it_are_missing(
    trained: Trained, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Any:
        raise Unavailable("the store is gone")

    server = serve(when_store_fails="missing")
    monkeypatch.setattr(ColumnReader, "read", failing)
    row = next(trained.frame[trained.frame.pump == "11"].itertuples())
    (logged,) = server.log(order(row))
    assert logged.lacks == "store" and logged.features["known_parts"] is None, "0 would be a number of parts"
    assert logged.features["days_since"] is None and logged.features["load_bin"] is not None


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ("7", "parts: should be a valid array"),
        ([7], "parts.0: should be a valid string (got 7)"),
        ([["7"]], "parts.0: should be a valid string"),
        (["x"], "parts.0: should match pattern"),
        (["1"] * 9, "parts: "),
        ({}, "parts: should be a valid array"),
    ],
)
def test_a_list_that_the_request_model_refuses_is_a_422(
    trained: Trained, serve: Callable[..., Server], parts: Any, problem: str
) -> None:
    answer = serve().http.post("/v1/predictions", json=order(next(trained.frame.itertuples()), parts=parts))
    assert answer.status_code == 422 and problem in answer.json()["detail"].replace("String ", ""), answer.text


def test_lists_in_the_document_and_in_repeated_calls(trained: Trained, serve: Callable[..., Server]) -> None:
    server = serve()
    schema = server.http.get("/openapi.json").json()["components"]["schemas"]["Request"]["properties"]["parts"]
    assert {"type": "array"}.items() <= schema["anyOf"][0].items() and schema["anyOf"][0]["maxItems"] == 8
    row = next(trained.frame.itertuples())
    body = order(row, id="a", parts=["1", "2"])
    first, again = (server.http.post("/v1/predictions", json=body).json() for _ in range(2))
    assert first == again
    other = server.http.post("/v1/predictions", json={**body, "parts": ["2", "1"]})
    assert other.status_code == 409


def test_evaluation_and_monitoring_read_examples_with_lists(trained: Trained) -> None:
    context, outputs = trained.context(), trained.outputs
    store = context.data.store
    training_set = store.read_table(f"{outputs['build_training_set']['training_set_uri']}/train.parquet")
    assert str(training_set.schema.field("parts").type) == "list<element: string>"
    rows = zip(*(training_set[name].to_pylist() for name in ("parts", "pump", "local_day")), strict=True)
    assert all(parts == parts_of(pump, day.day) for parts, pump, day in rows)
    (evaluated,) = outputs["evaluate"]
    scored = read_scored(store, evaluated["evaluation_uri"], Evaluation.read(store, evaluated["evaluation_uri"]))
    (model,) = outputs["train"]
    assert np.array_equal(load_scorer(store, ModelRef(model["model_uri"])).score(scored), scored["score"])
    version = outputs["register"]["version"]
    assert execute("preflight", {"rollout": "a", "version": version}, context)["rows"] > 0
    window = {"start": str(END - timedelta(3)), "end": str(END)}
    as_of = (trained.at + timedelta(days=1)).isoformat()
    given = {"model_uri": model["model_uri"], "model_version": version, "run": "m", "as_of": as_of}
    predictions = store.read_table(execute("score", {**window, **given}, context)["predictions_uri"]).to_pandas()
    (last,) = predictions[predictions.example_id == trained.frame.example_id[3]].itertuples()
    assert last.plant_grade == trained.frame.plant_grade[3] and last.days_since == trained.frame.days_since[3]


def test_a_replay_sends_lists(trained: Trained) -> None:
    context = trained.context()
    world = read_world(context, context.window(date(2024, 4, 18), date(2024, 4, 19)))
    requests = [request for tick in world.ticks(timedelta(hours=6)) for request in tick.requests]
    assert len(requests) == 60 and json.dumps(requests)
    assert all(request["parts"] == parts_of(request["pump"], 18) for request in requests)


@dataclass(frozen=True)
class Other(Lists):
    """With one more declaration."""

    more: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "derived", (*DERIVED, self.more))


REFUSED = [
    (Log("x", "lst_load"), "derived x reads lst_load, which is neither of the request, nor in the feature service"),
    (Log("x", "y"), "derived x reads y, which is neither"),
    (Log("age_or_load", "age"), "derived age_or_load reads age, which is neither"),
    (Log("wear_now", "wear"), "derived wear_now reads wear, which is neither"),
    (
        Function(("x", "grade"), ("load",), dict),
        "derived grade is a feature of pump_parts_v1, too; give it another name",
    ),
    (Log("x", "grade"), "derived x: input grade is not a number"),
    (Log("x", "last_at"), "derived x: last_at holds instants, not numbers; take a Difference with a unit"),
    (Difference("x", "load", "last_at", timedelta(1)), "derived x: load holds no instants .float64.; leave the unit"),
    (Each("x", "parts", "part", "age", "max"), "derived x reads age by part, and no view of pump_parts_v1 with that"),
    (Each("x", "parts", "maker", "wear", "max"), "derived x reads wear by maker, and no view of pump_parts_v1"),
    (Each("x", "pieces", "part", "wear", "max"), "derived x reads the list pieces, which is none of the request_col"),
    (Each("x", "plant", "part", "wear", "max"), "plant: '(north|south)' is no list; declare it as one"),
    (Each("x", "parts", "pump", "grade", "max"), "derived x: pump_last:grade is no number; choose a feature that is"),
]


@pytest.mark.parametrize(("more", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_a_derivation_that_cannot_work_is_refused_in_training(trained: Trained, more: Any, message: str) -> None:
    context = replace(trained.context(), usecase=Other(more=more))
    examples = load_examples(context, context.window(END - timedelta(1), END))
    with pytest.raises(InvalidInput, match=message):
        feature_frame(context, examples, SERVICE, ModelInputs(more.names[:1], ()))


def test_examples_without_the_list_are_refused(trained: Trained) -> None:
    context = trained.context()
    examples = load_examples(context, context.window(END - timedelta(1), END)).drop_columns(["parts"])
    with pytest.raises(InvalidInput, match="derived stock reads parts, which is neither of the request, nor"):
        feature_frame(context, examples, SERVICE, ModelInputs(("stock",), ()))


def test_a_window_without_examples_has_every_column(trained: Trained) -> None:
    context = trained.context()
    examples = load_examples(context, context.window(END - timedelta(1), END)).slice(0, 0)
    frame = feature_frame(context, examples, SERVICE, INPUTS)
    assert len(frame) == 0 and {*INPUTS.names} <= {*frame}


def test_a_stored_feature_takes_precedence_over_a_derived_one_of_the_same_name(trained: Trained) -> None:
    context = replace(trained.context(), usecase=Other(more=Log("last_load", "load")))
    inputs = ModelInputs(("last_load", "load_ratio"), ())
    examples = load_examples(context, context.window(END - timedelta(1), END))
    frame = feature_frame(context, examples, SERVICE, inputs)
    assert frame.last_load.tolist() == trained.frame.last_load.astype("float32").tolist()
    need = needs_of(context.feast, SERVICE, inputs, context.usecase)
    assert need.refs == {"last_load": "pump_last:last_load"} and need.recipe.names == ("load_ratio",)


def test_a_model_whose_list_needs_a_key_missing_from_requests_is_reported(trained: Trained) -> None:
    context = trained.context()
    usecase = replace(context.usecase, request_columns=("pump", "load", "read_at", "parts"))  # type: ignore[type-var]
    with pytest.raises(InvalidInput, match=r"requests lack the keys \['plant'\] of pump_parts_v1; add them"):
        needs_of(context.feast, SERVICE, ModelInputs(("stock",), ()), usecase)
    with pytest.raises(InvalidInput, match=r"requests lack the keys \['part'\] of pump_parts_v1"):
        needs_of(context.feast, SERVICE, ModelInputs(("wear",), ()), context.usecase)


def test_versions_that_derive_one_name_from_two_views_are_logged_apart(trained: Trained) -> None:
    context = trained.context()
    need = needs_of(context.feast, SERVICE, ModelInputs(("days_since", "load"), ()), context.usecase)
    moved = replace(need.recipe, stored=tuple(replace(one, view="pump_before") for one in need.recipe.stored))
    assert logged_names([need, replace(need, recipe=moved)]) == [
        {"days_since": f"days_since {view}:last_at", "load": "load"} for view in ("pump_last", "pump_before")
    ]
    layout = FeatureLayout(context.feast, context.usecase, {"1": need, "2": need}, Serving())
    assert layout.logged.numbers == ("days_since", "load") and layout.logged.aged == {}
