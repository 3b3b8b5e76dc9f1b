"""The monitoring steps one after the other, over a store of their own, with ONNX and Evidently themselves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from pipelines.artifacts.card import GRAPH, ModelCard
from pipelines.artifacts.evaluation import SCORED, Evaluation, scored_uri
from pipelines.artifacts.seal import write_sealed
from pipelines.artifacts.summary import Summary
from pipelines.context import Context
from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.monitoring import decide, join_outcomes, report_drift, score
from pipelines.params import load_params
from pipelines.settings import Settings
from pipelines.usecase import DAY, EXAMPLE_ID, LABEL, LABEL_KNOWN_AT, PREDICTED_AT, ModelInputs
from tests.artifacts import TRAINED, evaluation, model_card
from tests.editing import edit, rewrite

START, END = date(2020, 1, 1), date(2020, 1, 3)
AS_OF = datetime(2020, 1, 4, tzinfo=UTC)
INPUTS = ModelInputs(numeric=("x", "y"), categorical=("kind",))
ROWS = 400


def examples(rows: int = ROWS, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    """Labels drawn with probability sigmoid(x), which the model below knows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1.5, rows).astype(np.float32)
    at = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=n * 2880 // max(rows, 1)) for n in range(rows)]
    return pd.DataFrame(
        {
            EXAMPLE_ID: [f"e{n:04}" for n in range(rows)],
            PREDICTED_AT: pd.to_datetime(at, utc=True),
            DAY: [instant.date() for instant in at],
            "x": x,
            "y": rng.normal(0, 1, rows).astype(np.float32),
            "kind": rng.choice(["a", "b"], rows),
            LABEL: (rng.uniform(size=rows) < 1 / (1 + np.exp(-x))).astype(float),
            LABEL_KNOWN_AT: pd.to_datetime([instant + timedelta(hours=3) for instant in at], utc=True),
        }
    )


def as_table(frame: pd.DataFrame) -> pa.Table:
    instant = pa.timestamp("us", "UTC")
    known = {PREDICTED_AT: instant, LABEL_KNOWN_AT: instant, DAY: pa.date32(), LABEL: pa.float64()}
    return pa.table({c: pa.array(frame[c], known.get(c), from_pandas=True) for c in frame})


def write_model(context: Context, column: int = 0) -> str:
    """A model whose score is sigmoid(x), or of the numeric input in another column."""
    nodes = [
        helper.make_node("Gather", ["numeric", "first"], ["x"], axis=1),
        helper.make_node("Sigmoid", ["x"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sigmoid",
        [
            helper.make_tensor_value_info("numeric", TensorProto.FLOAT, [None, 2]),
            helper.make_tensor_value_info("categorical", TensorProto.STRING, [None, 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [helper.make_tensor("first", TensorProto.INT64, [], [column])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model.SerializeToString()
    uri = context.data.uri("models", "r", "tiny")
    trained = {**TRAINED, "feature_service": "tiny_v1"}
    card = model_card(INPUTS, sha256={GRAPH: hashlib.sha256(content).hexdigest()}, training_set=trained)
    context.data.store.write_bytes(f"{uri}/{GRAPH}", content)
    card.write(context.data.store, uri)
    return uri


class Desk:
    """A context, the examples that it holds, and the four steps with their usual inputs."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.frame = examples()
        self.services: list[str] = []
        self.model_uri = write_model(context)
        self.evaluation_uri = context.data.uri("evaluations", "r", "tiny")
        self.put_reference(examples(seed=1))

    def put_reference(self, frame: pd.DataFrame) -> None:
        scored = frame.assign(score=1 / (1 + np.exp(-frame["x"].astype(float))))
        self.context.data.store.write_table(scored_uri(self.evaluation_uri), as_table(scored))
        self.put_evaluation()

    @property
    def sha256(self) -> str:
        """Of the graph that lies in the model's folder."""
        content = self.context.data.store.read_bytes(f"{self.model_uri}/{GRAPH}")
        return hashlib.sha256(content).hexdigest()

    def put_evaluation(self) -> None:
        """The evaluation of the model that lies in its folder, with the rows that lie beside."""
        store = self.context.data.store
        digest = store.sha256(store.read_bytes(scored_uri(self.evaluation_uri)))
        about = {"model_uri": self.model_uri, "model_sha256": self.sha256}
        evaluation(**about, sha256={SCORED: digest}).write(store, self.evaluation_uri)

    def score(self, **changes: Any) -> score.Outputs:
        given = {"start": START, "end": END, "as_of": AS_OF, "model_uri": self.model_uri, "model_version": "3"}
        return score.run(score.Inputs(**{**given, "run": "m1", **changes}), self.context)

    def join(self, **changes: Any) -> join_outcomes.Outputs:
        given = {"predictions_uri": self.score().predictions_uri, "start": START, "end": END, "as_of": AS_OF}
        return join_outcomes.run(join_outcomes.Inputs(**{**given, "run": "m1", **changes}), self.context)

    def report(self, **changes: Any) -> report_drift.Outputs:
        given = {"outcomes_uri": self.join().outcomes_uri, "evaluation_uri": self.evaluation_uri, "as_of": AS_OF}
        return report_drift.run(
            report_drift.Inputs(**{**given, "model_version": "3", "run": "m1", **changes}), self.context
        )

    def decide(self, summary_uri: str, **changes: Any) -> decide.Outputs:
        given = {"summary_uri": summary_uri, "as_of": AS_OF, "start": START, "end": END, "model_version": "3"}
        return decide.run(decide.Inputs(**{**given, **changes}), self.context)

    def summary(self, outputs: report_drift.Outputs) -> dict[str, Any]:
        read: dict[str, Any] = self.context.data.store.read_json(outputs.summary_uri)
        return read


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    from pipelines import point_in_time

    params = load_params(Path(__file__).parents[2] / "params.yaml")
    rules = params.monitoring.model_copy(update={"min_labelled": 100})
    usecase: Any = SimpleNamespace(name="meters", timezone="UTC", start=START, end=END, maturity=timedelta(hours=6))
    made = Desk(Context(Settings(home=tmp_path), params.model_copy(update={"monitoring": rules}), usecase))

    def features(context: Context, rows: pa.Table, service: str, inputs: ModelInputs) -> pd.DataFrame:
        assert inputs == INPUTS
        made.services.append(service)
        return made.frame[made.frame[EXAMPLE_ID].isin(rows[EXAMPLE_ID].to_pylist())].iloc[::-1]

    monkeypatch.setattr(point_in_time, "load_examples", lambda context, window: as_table(made.frame))
    monkeypatch.setattr(point_in_time, "feature_frame", features)
    return made


def test_scores_are_saved_with_inputs_and_without_labels(desk: Desk) -> None:
    outputs = desk.score()
    table = desk.context.data.store.read_table(outputs.predictions_uri)
    assert outputs.rows == table.num_rows == ROWS
    assert table.column_names == [EXAMPLE_ID, PREDICTED_AT, DAY, "x", "y", "kind", "score", "model_version"]
    assert np.allclose(table["score"], 1 / (1 + np.exp(-table["x"].to_numpy())), atol=1e-6)
    assert desk.services == ["tiny_v1"]
    first = desk.context.data.store.read_bytes(outputs.predictions_uri)
    assert desk.context.data.store.read_bytes(desk.score().predictions_uri) == first


def test_what_is_predicted_after_as_of_is_left_out(desk: Desk) -> None:
    outputs = desk.score(as_of=datetime(2020, 1, 2, tzinfo=UTC))
    assert outputs.rows == (desk.frame[PREDICTED_AT] <= pd.Timestamp("2020-01-02", tz="UTC")).sum() < ROWS
    with pytest.raises(MissingData, match="no example"):
        desk.score(as_of=datetime(2019, 12, 1, tzinfo=UTC))


def test_a_window_without_examples_is_missing_data(desk: Desk) -> None:
    desk.frame = desk.frame.iloc[:0]
    with pytest.raises(MissingData, match="no example from 2020-01-01 to 2020-01-03"):
        desk.score()


def test_a_model_that_is_not_there_or_names_no_features_is_told(desk: Desk) -> None:
    with pytest.raises(MissingData, match=r"nowhere/model\.json does not exist"):
        desk.score(model_uri="nowhere")
    rewrite(ModelCard.place(desk.model_uri), lambda card: card["training_set"].pop("feature_service"))
    lacking = r"model\.json lacks training_set\.feature_service; train the model again"
    with pytest.raises(CorruptData, match=lacking):
        desk.score()


def test_another_model_in_the_folder_of_the_registered_one_is_not_monitored(desk: Desk) -> None:
    known = desk.sha256
    assert desk.score(model_sha256=known).rows == ROWS
    outcomes = desk.join().outcomes_uri
    assert desk.report(outcomes_uri=outcomes, model_sha256=known).metrics["n_labelled"] == ROWS
    write_model(desk.context, column=1)  # trained again under the same run: whole, and another
    other = desk.sha256
    assert other != known and desk.score(model_sha256=other).rows == desk.score().rows == ROWS
    refused = f"another model .* sha256 {other[:12]}, registered is {known[:12]}"
    with pytest.raises(CorruptData, match=refused):
        desk.score(model_sha256=known)
    for asked in (known, None):  # the evaluation knows which model it is about
        with pytest.raises(CorruptData, match=refused):
            desk.report(outcomes_uri=outcomes, model_sha256=asked)
    desk.put_evaluation()  # and evaluated again
    with pytest.raises(CorruptData, match=f"of a model with sha256 {other[:12]}, but {known[:12]} is registered"):
        desk.report(outcomes_uri=outcomes, model_sha256=known)
    rewrite(Evaluation.place(desk.evaluation_uri), lambda e: e.pop("model_sha256"))
    with pytest.raises(CorruptData, match=r"metrics\.json lacks model_sha256; evaluate the model again"):
        desk.report(outcomes_uri=outcomes)


def test_outcomes_keep_every_prediction_and_only_known_labels(desk: Desk) -> None:
    never, later = desk.frame.index < 10, (desk.frame.index >= 10) & (desk.frame.index < 30)
    desk.frame.loc[never, [LABEL, LABEL_KNOWN_AT]] = [np.nan, pd.NaT]
    desk.frame.loc[later, LABEL_KNOWN_AT] = pd.Timestamp("2020-02-01", tz="UTC")
    outputs = desk.join()
    assert (outputs.matured, outputs.unmatured, outputs.without_label) == (ROWS - 30, 20, 10)
    table = desk.context.data.store.read_table(outputs.outcomes_uri)
    assert table.num_rows == ROWS
    assert table[LABEL].null_count == table[LABEL_KNOWN_AT].null_count == 30
    assert "status" not in table.column_names


def test_missing_predictions_are_told(desk: Desk) -> None:
    with pytest.raises(MissingData, match="does not exist"):
        desk.join(predictions_uri=desk.context.data.uri("predictions", "other", "predictions.parquet"))


def test_the_same_population_has_no_drift_and_keeps_the_model(desk: Desk) -> None:
    desk.frame = examples(4000)
    desk.put_reference(examples(4000, seed=1))
    outputs = desk.report()
    summary = desk.summary(outputs)
    assert summary["drifted_columns"] == []
    assert summary["window"] == ["2020-01-01", "2020-01-03"]
    assert (summary["n_labelled"], summary["n_scored"], summary["model_version"]) == (4000, 4000, "3")
    assert summary["metrics"]["roc_auc"] == pytest.approx(summary["reference_metrics"]["roc_auc"], abs=0.1)
    assert summary["roc_auc_drop"] == summary["reference_metrics"]["roc_auc"] - summary["metrics"]["roc_auc"]
    assert set(summary["columns"]) == set(INPUTS.names)
    assert outputs.run_id is None
    assert outputs.metrics["roc_auc_drop"] == summary["roc_auc_drop"]
    assert desk.decide(outputs.summary_uri).verdict == "KEEP"


def test_a_shifted_input_is_named_and_alone_retrains_nothing(desk: Desk) -> None:
    desk.frame = examples(4000, shift=2.0)
    desk.put_reference(examples(4000, seed=1, shift=2.0).assign(y=lambda frame: frame["y"] + 3, kind="c"))
    outputs = desk.report()
    assert desk.summary(outputs)["drifted_columns"] == ["y", "kind"]
    assert desk.summary(outputs)["drift_share"] == pytest.approx(2 / 3)
    decided = desk.decide(outputs.summary_uri)
    assert decided.verdict == "KEEP"
    assert "67% of the model inputs drifted (y, kind)" in decided.reasons[-1]


def test_scores_turned_to_noise_ask_for_retraining(desk: Desk) -> None:
    desk.frame[LABEL] = np.random.default_rng(7).integers(0, 2, ROWS).astype(float)
    decided = desk.decide(desk.report().summary_uri)
    assert decided.verdict == "RETRAIN"
    assert "roc_auc_drop is 0." in decided.reasons[0]
    record = desk.context.decisions.get(decided.decision_id)
    assert record and record["verdict"] == "RETRAIN" and record["kind"] == "retrain"


def test_the_reports_open_offline(desk: Desk) -> None:
    outputs = desk.report()
    assert outputs.quality_uri
    for uri in (outputs.report_uri, outputs.quality_uri):
        html = desk.context.data.store.read_bytes(uri).decode()
        assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", html)
        assert len(html) > 1_000_000


def test_the_summary_is_the_same_twice_and_small_samples_are_seeded(desk: Desk) -> None:
    rules = desk.context.params.monitoring.model_copy(update={"drift_sample": 50})
    desk.context = Context(
        desk.context.settings, desk.context.params.model_copy(update={"monitoring": rules}), desk.context.usecase
    )
    first = desk.context.data.store.read_bytes(desk.report().summary_uri)
    assert desk.context.data.store.read_bytes(desk.report().summary_uri) == first


def one_class(desk: Desk) -> None:
    desk.frame[LABEL] = 0.0


def no_labels(desk: Desk) -> None:
    desk.frame[[LABEL, LABEL_KNOWN_AT]] = [np.nan, pd.NaT]


@pytest.mark.parametrize(("spoil", "labelled"), [(one_class, ROWS), (no_labels, 0)])
def test_labels_that_allow_no_metric_leave_a_gap_and_no_verdict_to_keep(
    desk: Desk, spoil: Callable[[Desk], None], labelled: int
) -> None:
    spoil(desk)
    outputs = desk.report()
    assert outputs.quality_uri is None
    assert outputs.metrics["roc_auc"] is None and outputs.metrics["roc_auc_drop"] is None
    assert outputs.metrics["n_labelled"] == labelled
    assert desk.decide(outputs.summary_uri).verdict != "KEEP"


def test_nan_scores_hold_the_decision(desk: Desk) -> None:
    uri = desk.join().outcomes_uri
    spoiled = desk.context.data.store.read_table(uri).to_pandas()
    spoiled.loc[0, "score"] = np.nan
    desk.context.data.store.write_table(uri, as_table(spoiled))
    outputs = report_drift.run(
        report_drift.Inputs(
            outcomes_uri=uri, evaluation_uri=desk.evaluation_uri, as_of=AS_OF, model_version="3", run="m1"
        ),
        desk.context,
    )
    assert outputs.metrics["log_loss"] is None
    assert desk.decide(outputs.summary_uri).verdict == "HOLD"


def test_a_column_that_fell_silent_has_drifted(desk: Desk) -> None:
    desk.frame = desk.frame.assign(y=np.float32("nan"), kind=None)
    summary = desk.summary(desk.report())
    assert {"y", "kind"} <= set(summary["drifted_columns"])
    assert summary["columns"]["y"]["distance"] is None


def test_a_tracked_report_reaches_the_tracker_with_finite_metrics_only(desk: Desk) -> None:
    one_class(desk)
    logged: dict[str, Any] = {}

    def log_report(**given: Any) -> str:
        logged.update(given)
        return "run-1"

    desk.context = desk.context.replaced(tracker=SimpleNamespace(log_report=log_report))
    assert desk.report(track=True).run_id == "run-1"
    assert (logged["run"], logged["model_version"]) == ("m1", "3")
    assert "roc_auc" not in logged["metrics"] and logged["metrics"]["n_labelled"] == ROWS
    assert set(logged["files"]) == {"drift.html", Summary.FILE}


def test_reports_refuse_what_they_cannot_compare(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="holds scores of version 3, not 4"):
        desk.report(model_version="4")
    with pytest.raises(MissingData, match=r"gone/metrics\.json does not exist"):
        desk.report(evaluation_uri="gone")
    desk.context.data.store.write_table(scored_uri(desk.evaluation_uri), pa.table({"score": [0.1]}))
    named = r"scored\.parquet is not the file that metrics\.json names; evaluate the model again"
    with pytest.raises(CorruptData, match=named):
        desk.report()
    desk.put_evaluation()
    with pytest.raises(InvalidInput, match="lacks the columns x, y, kind"):
        desk.report()
    desk.put_reference(examples(rows=1).iloc[:0].astype({DAY: "datetime64[ns]"}))
    with pytest.raises(MissingData, match="has no rows"):
        desk.report()
    edit(Evaluation.place(desk.evaluation_uri), lambda e: e.update(model_uri="another"))
    with pytest.raises(CorruptData, match=r"metrics\.json was altered"):
        desk.report()
    rewrite(Evaluation.place(desk.evaluation_uri), lambda e: e.pop("model_uri"))
    with pytest.raises(CorruptData, match=r"metrics\.json lacks model_uri; evaluate the model again"):
        desk.report()


@pytest.mark.parametrize(
    "changes",
    [{"model_version": "4"}, {"as_of": AS_OF + timedelta(1)}, {"end": date(2020, 1, 2)}],
)
def test_a_stale_summary_decides_nothing(desk: Desk, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="give the summary of the window"):
        desk.decide(desk.report().summary_uri, **changes)


def test_a_file_that_is_no_summary_is_corrupt(desk: Desk) -> None:
    uri = desk.context.data.uri("monitoring", "m1", Summary.FILE)
    desk.context.data.store.write_json(uri, {"model_version": "3"})
    with pytest.raises(CorruptData, match=r"summary\.json carries no digest of its own; run report_drift again"):
        desk.decide(uri)
    write_sealed(desk.context.data.store, uri, {"model_version": "3"})
    with pytest.raises(CorruptData, match=r"summary\.json lacks as_of, columns, .* window; run report_drift again"):
        desk.decide(uri)


def test_a_summary_that_was_edited_decides_nothing(desk: Desk) -> None:
    uri = desk.report().summary_uri
    edit(uri, lambda summary: summary.update(roc_auc_drop=0.0))
    altered = r"summary\.json was altered.* restore it, or run report_drift again"
    with pytest.raises(CorruptData, match=altered):
        desk.decide(uri)


def test_too_few_labels_hold_whatever_the_metrics_say(desk: Desk) -> None:
    desk.frame = examples(60)
    desk.frame[LABEL] = 1 - desk.frame[LABEL]
    decided = desk.decide(desk.report().summary_uri)
    assert decided.verdict == "HOLD"
    assert "only 60 matured labels" in decided.reasons[0]


def strict(content: bytes) -> Any:
    """JSON as others read it: without NaN and infinities."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(content, parse_constant=refuse)


FILL = np.float32(9.96921e36)  # what NetCDF writes where there is no value


@pytest.mark.parametrize(
    ("ours", "theirs", "drifted"),
    [(FILL, FILL, False), (FILL, None, True), (None, np.float32(3e38), True), (np.inf, None, True)],
    ids=["the same on both sides", "in the window", "in the reference", "infinite"],
)
def test_a_stuck_sensor_is_reported_and_decided_on(desk: Desk, ours: Any, theirs: Any, drifted: bool) -> None:
    desk.frame = desk.frame if ours is None else desk.frame.assign(y=ours)
    desk.put_reference(examples(seed=1) if theirs is None else examples(seed=1).assign(y=theirs))
    logged: dict[str, Any] = {}
    desk.context = desk.context.replaced(tracker=SimpleNamespace(log_report=lambda **given: logged.update(given)))
    outputs = desk.report(track=True)
    summary = strict(desk.context.data.store.read_bytes(outputs.summary_uri))
    assert summary["columns"]["y"]["drifted"] is drifted and ("y" in summary["drifted_columns"]) is drifted
    assert summary["unmeasured"] == {} and summary["columns"]["x"]["distance"] is not None
    assert all(np.isfinite(value) for value in logged["metrics"].values())
    page = desk.context.data.store.read_bytes(outputs.report_uri).decode()
    assert ("picture of y" in page) == ("picture of y" in summary["left_out"])
    decided = desk.decide(outputs.summary_uri)
    assert decided.verdict == "KEEP" and desk.context.decisions.get(decided.decision_id)


def test_an_input_without_a_value_on_either_side_is_named_on_the_page_and_in_the_decision(desk: Desk) -> None:
    desk.frame = desk.frame.assign(y=np.float32("nan"))
    desk.put_reference(examples(seed=1).assign(y=np.float32("nan")))
    outputs = desk.report()
    summary = desk.summary(outputs)
    assert set(summary["unmeasured"]) == {"y"} and summary["columns"]["y"]["why"] == summary["unmeasured"]["y"]
    assert b"Not measured" in desk.context.data.store.read_bytes(outputs.report_uri)
    assert "(y could not be measured)" in desk.decide(outputs.summary_uri).reasons[-1]


def test_a_damaged_report_of_health_is_named_and_the_others_are_told(desk: Desk) -> None:
    folder = desk.context.data.uri("reports", "features")
    good = {"window": ["2020-01-02", "2020-01-03"], "verdict": "PASS", "reasons": [], "views": {}}
    desk.context.data.store.write_json(f"{folder}/2020-01-02_2020-01-03.json", good)
    desk.context.data.store.write_json(f"{folder}/2020-01-01_2020-01-02.json", {"verdict": "PASS"})
    desk.context.data.store.write_bytes(f"{folder}/2020-01-01_2020-01-03.json", b"{")
    summary = desk.summary(desk.report())
    assert summary["feature_health"]["windows"] == 1
    assert {name for name in summary["left_out"] if name.startswith("reports/")} == {
        "reports/features/2020-01-01_2020-01-02.json",
        "reports/features/2020-01-01_2020-01-03.json",
    }
