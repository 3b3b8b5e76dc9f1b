"""Everything that a gate reads is removed, one thing at a time: the verdict is HOLD or REJECT, with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipelines.artifacts.manifest import Manifest, Origin
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import Scorer
from pipelines.context import Context
from pipelines.errors import CorruptData, MissingData
from pipelines.metric_names import LATENCY, SIZE, WORST
from pipelines.metrics.scores import differences
from pipelines.records import Plan
from pipelines.steps import execute
from pipelines.usecase import slices_of
from pipelines.verdict import Verdict
from tests.editing import edit, rewrite
from tests.steps.gate_input import (
    RULES,
    Values,
    edit_scored,
    evaluation_uri,
    gate,
    in_crumbs,
    manifest_of,
    metrics_of,
    only,
    put,
    put_other,
    require_refusal,
    with_windows,
)
from tests.synthetic import AS_OF, context_over, write_training_set

FLOORS = sorted({gate.metric for rules in RULES.values() for gate in rules.floors})
AGAINST = sorted({gate.metric for rules in RULES.values() for gate in rules.against_champion})
SLICED = slices_of(SimpleNamespace(slices=("kind",)))  # as declared by context_over
VALUES = ["absent", None, math.nan, math.inf, -math.inf]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A champion and a candidate, each trained and evaluated. Read only."""
    context = context_over(tmp_path_factory.mktemp("mutations"))
    for run, seed, rows in (("old", 1, 1500), ("new", 7, 6000)):
        uri = write_training_set(context, run, seed, rows=rows)
        shared = {"training_set_uri": uri, "run": run}
        model = execute("train", {**shared, "family": "hist_gradient_boosting"}, context)
        execute("evaluate", {**shared, "model_uri": model["model_uri"]}, context)
    return context


@pytest.fixture
def files(template: Context) -> Any:
    """The candidate's files, restored afterwards."""
    folders = [Path(template.data.uri(zone, "new")) for zone in ("evaluations", "training_sets", "models")]
    kept = {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
    yield kept
    for path, content in kept.items():
        path.write_bytes(content)


def test_an_unchanged_candidate_passes(template: Context) -> None:
    outputs = gate(template)
    assert outputs["verdict"] == "PASS", outputs["reasons"]
    assert set(template.data.store.read_json(metrics_of(template))["slices"]) == set(SLICED) > {"kind"}
    for metric in FLOORS:
        assert gate(only(template, metric, "floors"))["verdict"] == "PASS", metric
    for metric in AGAINST:
        assert gate(only(template, metric, "against"))["verdict"] == "PASS", metric


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("metric", FLOORS)
def test_a_floor_without_its_number_never_passes(
    template: Context, files: Any, monkeypatch: pytest.MonkeyPatch, metric: str, value: Any
) -> None:
    """The source of the number is removed: the slices, the latency, the size, or the metric itself."""
    uri = metrics_of(template)
    if metric.startswith(WORST):

        def change(evaluation: Values) -> None:
            for entry in evaluation["slices"]["kind"]:
                put(metric.removeprefix(WORST), value, entry)

        rewrite(uri, change)
    elif metric in (LATENCY, SIZE):
        given = {} if value == "absent" else {metric: value}
        monkeypatch.setattr("pipelines.registration.checks.graph_metrics", lambda *_: given)
    else:
        rewrite(uri, lambda e: put(metric, value, e["metrics"]))
    require_refusal(gate(only(template, metric, "floors")), metric)


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("metric", AGAINST)
def test_a_comparison_without_its_number_never_passes(
    template: Context, monkeypatch: pytest.MonkeyPatch, metric: str, value: Any
) -> None:
    def harmed(*given: Any) -> Values:
        values: Values = differences(*given)
        put(metric, value, values)
        return values

    monkeypatch.setattr("pipelines.registration.champion.differences", harmed)
    require_refusal(gate(only(template, metric, "against")), metric)


@pytest.mark.parametrize("metric", FLOORS)
def test_a_floor_that_is_missed_rejects(template: Context, monkeypatch: pytest.MonkeyPatch, metric: str) -> None:
    context = only(template, metric, "floors")
    (rule,) = context.params.gate.floors
    worse = -9.0 if rule.direction == "at_least" else 0.0
    strict = rule.model_copy(update={"threshold": 1e12 if rule.direction == "at_least" else worse - 1e-9})
    rules = context.params.gate.model_copy(update={"floors": (strict,)})
    outputs = gate(Context(context.settings, context.params.model_copy(update={"gate": rules}), context.usecase))
    assert outputs["verdict"] == "REJECT"
    require_refusal(outputs, metric)


@pytest.mark.parametrize(
    "harm",
    [
        lambda slices, column: slices.pop(column),
        lambda slices, column: slices.update({column: []}),
        lambda slices, column: slices.update({column: None}),
        lambda slices, column: slices[column].pop(),
        lambda slices, column: slices[column][0].update(rows=slices[column][0]["rows"] + 1),
        lambda slices, column: slices[column][0].pop("rows"),
        lambda slices, column: slices.update({column: in_crumbs(slices[column])}),
    ],
    ids=["column", "empty", "null", "one", "miscounted", "uncounted", "too small"],
)
@pytest.mark.parametrize("column", SLICED)
def test_a_candidate_without_the_slices_of_a_column_never_passes(
    template: Context, files: Any, column: str, harm: Callable[[Values, str], Any]
) -> None:
    rewrite(metrics_of(template), lambda e: harm(e["slices"], column))
    require_refusal(gate(template), "worst_slice_roc_auc is missing")


@pytest.mark.parametrize("harm", [lambda e: e.update(slices={}), lambda e: e.pop("slices")], ids=["all", "key"])
def test_a_candidate_without_any_slice_never_passes(
    template: Context, files: Any, harm: Callable[[Values], Any]
) -> None:
    rewrite(metrics_of(template), harm)
    require_refusal(gate(template), "worst_slice_roc_auc is missing")


@pytest.mark.parametrize("column", SLICED)
@pytest.mark.parametrize("ranked", [False, None, "absent"], ids=str)
def test_a_bad_slice_counts_by_its_rows_whatever_its_name_in_the_evaluation(
    template: Context, files: Any, column: str, ranked: Any
) -> None:
    def hide(evaluation: Values) -> None:
        worst = evaluation["slices"][column][0]
        worst.update(roc_auc=0.1)
        put("ranked", ranked, worst)

    rewrite(metrics_of(template), hide)
    outputs = gate(template)
    assert outputs["verdict"] == "REJECT"
    require_refusal(outputs, "worst_slice_roc_auc is 0.1000")


def test_the_params_say_how_many_rows_a_slice_needs(template: Context) -> None:
    wide = template.params.evaluation.model_copy(update={"min_slice": 10**6})
    require_refusal(
        gate(Context(template.settings, template.params.model_copy(update={"evaluation": wide}), template.usecase)),
        "worst_slice_roc_auc is missing",
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e["metrics"].update(roc_auc=0.99),
        lambda e: e["slices"]["kind"][0].update(ranked=False),
        lambda e: e["sha256"].pop("metrics.json"),
        lambda e: e["sha256"].update({"metrics.json": "0" * 64}),
        lambda e: e.pop("sha256"),
        lambda e: e.update(sha256=None),
    ],
    ids=["metric", "slice", "unsealed", "foreign seal", "no digests", "null digests"],
)
def test_an_edited_evaluation_is_refused(template: Context, files: Any, change: Callable[[Values], Any]) -> None:
    edit(metrics_of(template), change)
    with pytest.raises(CorruptData, match=r"metrics\.json (was altered|carries no digest).*evaluate the model again"):
        gate(template)


@pytest.mark.parametrize("window", [None, ["2024-04-01", "2024-04-01"], ["2024-02-01", "2024-03-01"],
                                    ["2024-03-02", "2024-04-01"], ["2024-03-01", "2024-04-02"]], ids=str)  # fmt: skip
def test_an_evaluation_of_another_window_never_passes(template: Context, files: Any, window: Any) -> None:
    rewrite(metrics_of(template), lambda e: e.update(window=window))
    require_refusal(gate(template), "window")


@pytest.mark.parametrize("window", [[], ["2024-03-01"], ["2024-03-01", "never"]], ids=str)
def test_a_malformed_window_stops_the_gate(template: Context, files: Any, window: Any) -> None:
    rewrite(metrics_of(template), lambda e: e.update(window=window))
    with pytest.raises(CorruptData, match=r"metrics\.json .*window.*; evaluate the model again"):
        gate(template)


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_window_within_the_embargo_never_passes(template: Context, files: Any, name: str) -> None:
    with_windows(template, **{name: ["2023-12-01", "2024-02-29"]})
    require_refusal(gate(template), "training ended on 2024-02-29, and the embargo is 2 days")


def test_a_window_other_than_the_training_sets_never_passes(template: Context, files: Any) -> None:
    with_windows(template, test=["2024-03-05", "2024-04-01"])
    require_refusal(gate(template), "but it was trained for")


# valid other values, where the text "other" would not be one
OTHER = {"as_of": "2024-04-02T00:00:00+00:00", "windows": ["2024-03-02", "2024-04-01"]}


@pytest.mark.parametrize("name", Origin.model_fields)
def test_a_training_set_other_than_the_models_never_passes(template: Context, files: Any, name: str) -> None:
    rewrite(manifest_of(template), lambda manifest: put_other(name, OTHER.get(name, "other"), manifest))
    require_refusal(gate(template), f"its training set has changed since training ({name})")


@pytest.mark.parametrize("name", OTHER)
def test_a_training_set_without_instant_or_windows_stops_the_gate(template: Context, files: Any, name: str) -> None:
    rewrite(manifest_of(template), lambda manifest: put_other(name, "other", manifest))
    with pytest.raises(CorruptData, match=rf"manifest\.json has 'other' as {name}.*; build the training set again"):
        gate(template)


def test_an_edited_manifest_stops_the_gate(template: Context, files: Any) -> None:
    edit(manifest_of(template), lambda manifest: manifest.update(data_version="other"))
    altered = r"manifest\.json was altered.* restore it, or build the training set again"
    with pytest.raises(CorruptData, match=altered):
        gate(template)


def test_a_manifest_written_before_seals_existed_is_read(template: Context, files: Any) -> None:
    edit(manifest_of(template), lambda manifest: manifest["sha256"].pop(Manifest.FILE))
    assert gate(template)["verdict"] == "PASS"


def test_an_evaluation_that_names_another_training_set_never_passes(template: Context, files: Any) -> None:
    rewrite(metrics_of(template), lambda e: e.update(training_set_uri=template.data.uri("training_sets", "old")))
    require_refusal(gate(template), "its training set has changed since training (sha256)")


def test_a_missing_or_incomplete_training_set_stops_the_gate(template: Context, files: Any) -> None:
    manifest = Path(manifest_of(template))
    rewrite(manifest, lambda m: m.pop("windows"))
    with pytest.raises(CorruptData, match=r"manifest\.json lacks windows; build the training set again"):
        gate(template)
    manifest.unlink()
    with pytest.raises(MissingData, match=r"manifest\.json does not exist"):
        gate(template)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.iloc[:0],
        lambda frame: frame.iloc[1:],
        lambda frame: frame.assign(local_day=frame.local_day.map(lambda day: day.replace(month=2))),
        lambda frame: frame.assign(local_day=frame.local_day.map(lambda day: day.replace(year=2025))),
    ],
    ids=["none", "fewer", "before", "after"],
)
def test_scored_rows_outside_the_window_never_pass(template: Context, files: Any, change: Any) -> None:
    kept = pq.read_table(f"{evaluation_uri(template)}/scored.parquet").to_pandas()
    kept = kept[kept.local_day.map(lambda day: day.day < 29)]  # so that other months have these days
    edit_scored(template, lambda _: change(kept))
    rewrite(metrics_of(template), lambda e: e.update(rows=len(kept)))
    require_refusal(gate(template), "scored")


@pytest.mark.parametrize("score", [math.nan, math.inf], ids=str)
def test_nan_scores_of_candidate_or_champion_never_pass(
    template: Context, files: Any, monkeypatch: pytest.MonkeyPatch, score: float
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "score", lambda _, frame: frame["score"].to_numpy() * score)
        require_refusal(gate(template), "log_loss_delta_high is missing")
    edit_scored(template, lambda frame: frame.assign(score=score))
    require_refusal(gate(template), "log_loss_delta_high is missing")


@pytest.mark.parametrize(("days", "verdict"), [(4, Verdict.HOLD), (5, Verdict.PASS)])
def test_few_labelled_days_never_pass(template: Context, files: Any, days: int, verdict: Verdict) -> None:
    """Also without a champion, and with metrics as good as before."""

    def on_days(frame: pd.DataFrame) -> pd.DataFrame:
        there = sorted(frame.local_day.unique())[:days]
        return frame.assign(local_day=[there[n % days] for n in range(len(frame))])

    edit_scored(template, on_days)
    answer = gate(template, champion_uri=None)
    assert answer["verdict"] == verdict
    short = f"its labelled test rows lie in {days} blocks (days, unless the use case declares others), and evaluation."
    assert any(short in reason for reason in answer["reasons"]) == (verdict is Verdict.HOLD)


def test_a_single_day_is_not_enough_evidence_against_a_champion(template: Context, files: Any) -> None:
    """Even where `min_blocks` requires no more."""
    few = template.params.evaluation.model_copy(update={"min_blocks": 1})
    edit_scored(template, lambda frame: frame.assign(local_day=frame.local_day.iloc[0]))
    context = Context(template.settings, template.params.model_copy(update={"evaluation": few}), template.usecase)
    require_refusal(gate(context), "log_loss_delta_high is missing")


def test_an_unnamed_champion_in_force_holds(template: Context) -> None:
    assert gate(template, champion_uri=None)["verdict"] == "PASS"
    template.plans.replace(Plan.alone(1, "r", "1", ModelRef("somewhere", "0" * 64), AS_OF))
    try:
        require_refusal(gate(template, champion_uri=None), "version 1 is in force but has no alias")
    finally:
        with template.records.engine.begin() as connection:
            connection.exec_driver_sql("delete from routing_plans")


def test_a_missing_champion_holds(template: Context) -> None:
    require_refusal(gate(template, champion_uri=template.data.uri("models", "none")), "champion cannot be scored")


def test_a_champion_whose_folder_was_retrained_holds(template: Context) -> None:
    require_refusal(gate(template, champion_sha256="0" * 64), "holds another model than the registered one")


def test_the_latency_decides_and_does_not_change_the_id_of_the_decision(
    template: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = only(template, LATENCY, "floors")
    outputs = []
    for latency in (0.25, 0.75, 1e9):
        monkeypatch.setattr("pipelines.registration.checks.latency_p95_ms", lambda *_, ms=latency: ms)
        outputs.append(gate(context))
    assert outputs[0] == outputs[1] and [one["verdict"] for one in outputs] == ["PASS", "PASS", "REJECT"]
    decision = template.decisions.get(outputs[2]["decision_id"])
    assert decision is not None and decision["evidence"]["measured"] == {"hist_gradient_boosting": {LATENCY: 1e9}}
