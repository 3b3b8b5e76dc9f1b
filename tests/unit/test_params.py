"""params.yaml is typed and frozen; every mistake gives one line that names it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.fs import LocalFileSystem
from dvc.utils.serialize import YAMLFileCorruptedError, load_path
from pydantic import ValidationError

from pipelines.__main__ import main
from pipelines.configuration import load_params
from pipelines.errors import InvalidInput
from pipelines.params.derived import filled
from pipelines.params.reading import key_lines, read_yaml
from tests.conftest import ROOT, TOY

BAR = {"metric": "roc_auc", "direction": "at_least", "threshold": 0.6}
STAGE = {"share": 0.25, "min_hours": 0, "min_requests": 0, "min_blocks": 0, "min_pairs": 0}


def broken(tmp_path: Path, change: dict[str, Any]) -> Path:
    """The project's params with one dotted key changed."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(filled(raw, change)))
    return file


@pytest.mark.parametrize("file", [ROOT / "params.yaml", TOY])
def test_the_files_of_the_project_load(file: Path) -> None:
    params = load_params(file)
    with pytest.raises(ValidationError):
        params.usecase = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"typo": 1}, r"typo: unknown key"),
        ({"training.trails": 3}, r"training\.trails: unknown key"),
        ({"training.trials": "many"}, r"training\.trials: .*\(got 'many'\)"),
        ({"training.trials": 0}, r"training\.trials: .*greater than or equal to 1"),
        ({"training.families": []}, r"training\.families: .*at least 1"),
        ({"training.families": ["prophet"]}, r"family 'prophet' is unknown; choose from"),
        ({"training.families": ["mlp", "mlp"]}, r"training: families names mlp more than once"),
        ({"training.seed": -1}, r"training\.seed: .*greater than or equal to 0 \(got -1\)"),
        ({"evaluation.bootstrap": 39}, r"evaluation\.bootstrap: .*greater than or equal to 40 \(got 39\)"),
        ({"training.mlp.search": {"depth": {"low": 1, "high": 2}}}, r"mlp\.search names \['depth'\]"),
        ({"training.mlp.search": {"dropout": {"low": 1, "high": 0}}}, r"needs low < high"),
        (
            {"training.mlp.search": {"dropout": {"low": 0, "high": 0.5, "when": {"depth": 2}}}},
            r"mlp\.search\.dropout\.when names 'depth'",
        ),
        ({"training.tuning": {"latency": {"budget_ms": 2}}}, r"training\.tuning: two objectives cannot be pruned"),
        ({"training.tuning": {"minutes": 0}}, r"training\.tuning\.minutes: .*greater than 0"),
        ({"training.calibration": "beta"}, r"training\.calibration: .*'isotonic'"),
        ({"costs.miss": 0.1}, r"costs: needs true_alarm < miss"),
        ({"behaviour": [{"name": "a", "kind": "minimum"}]}, r"behaviour\.0\.minimum\.bar: Field required"),
        ({"behaviour": [{"name": "a", "kind": "charm"}]}, r"behaviour\.0: .*'invariance'"),
        ({"cleaning.outlier": {}}, r"cleaning\.outlier: unknown key"),
        ({"cleaning.outliers": {"method": "sigma"}}, r"cleaning\.outliers: .*'quantile'"),
        ({"cleaning.outliers": {"method": "quantile", "low": 0.9, "high": 0.1, "flag": True}}, r"needs low < high"),
        ({"cleaning.outliers": {"method": "none", "flag": True}}, r"cleaning\.outliers.*flag: unknown key"),
        ({"rollout.judge.weights": {"quality": 0.9}}, r"judge\.weights: weights add up to 1\.2; at most 1"),
        (
            {"cleaning.missing": {"strategy": "constant", "indicators": True}},
            r"cleaning\.missing.*value: Field required",
        ),
        (
            {"cleaning.missing": {"strategy": "constant", "value": float("nan"), "indicators": True}},
            r"cleaning\.missing\.constant\.value",
        ),
        (
            {"cleaning.missing": {"strategy": "none", "indicators": True}},
            r"none for its inputs of \w+, which cannot read",
        ),
        (
            {"cleaning.columns": {"temp": {"missing": {"strategy": "none", "indicators": True}}}},
            r"none for column temp of \w+, which cannot read NaN",
        ),
        ({"cleaning.families": {"prophet": {}}}, r"families names \['prophet'\]; choose from"),
        ({"desk.end": "2012-12-31"}, r"end is 2012-12-31, not after start"),
        ({"desk.as_of": "2014-06-01"}, r"as_of 2014-06-01 must lie"),
        ({"desk.start": "tomorrow"}, r"desk\.start: .*\(got 'tomorrow'\)"),
        ({"gate.floors": []}, r"gate\.floors: .*at least 1"),
        ({"gate.floors": [{"metric": "roc_auc", "direction": "about", "threshold": 1}]}, r"floors\.0\.direction"),
        (
            {"gate.floors": [BAR, {**BAR, "metric": "roc_acu"}]},
            r"gate\.floors\.1: no metric 'roc_acu' is computed for it; did you mean roc_auc",
        ),
        (
            {"gate.floors": [{**BAR, "metric": "accuracy"}]},
            r"no metric 'accuracy' .*choose from roc_auc, .* behaviour_failures, worst_slice_roc_auc, .* size_bytes",
        ),
        ({"gate.floors": [{**BAR, "metric": "log_loss_delta"}]}, r"floors\.0: no metric 'log_loss_delta'"),
        ({"gate.floors": [{**BAR, "metric": "worst_slice_cost"}]}, r"floors\.0: no metric 'worst_slice_cost'"),
        (
            {"gate.against_champion": [BAR]},
            r"gate\.against_champion\.0: no metric 'roc_auc' is computed for it; did you mean roc_auc_delta",
        ),
        ({"gate.against_champion": [{**BAR, "metric": "cost_delta"}]}, r"against_champion\.0: no metric 'cost_delta'"),
        ({"gate.against_champion": []}, r"gate\.against_champion: .*at least 1"),
        (
            {"monitoring.retrain_when_failing": [{**BAR, "metric": "roc_auc_dropp"}]},
            r"retrain_when_failing\.0: no metric 'roc_auc_dropp' .*did you mean roc_auc_drop",
        ),
        (
            {"monitoring.retrain_when_failing": [{**BAR, "metric": "drift_share"}]},
            r"retrain_when_failing\.0: no metric 'drift_share' .*choose from",
        ),
        (
            {"behaviour": [{"name": "a", "kind": "minimum", "bar": {**BAR, "metric": "auc"}}]},
            r"behaviour\.0\.minimum\.bar: no metric 'auc' .*did you mean pr_auc or roc_auc\?",
        ),
        ({"features.health.bars": [{**BAR, "metric": "nulls"}]}, r"health\.bars\.0\.metric: .*'null_rate'"),
        ({"features.health.views": {"weather": [BAR]}}, r"health\.views\.weather\.0\.metric: .*'null_rate'"),
        ({"validation.max_quarantine_share": 2}, r"less than or equal to 1"),
        ({"rollout.judge.weights.quality": 0.8}, r"judge\.weights: weights add up to 1\.1; at most 1"),
        ({"rollout.judge.max_days": float("inf")}, r"judge\.max_days: .*finite"),
        ({"rollout.stages": [{**STAGE, "share": 0.5}, STAGE]}, r"rollout\.stages: .*larger than the one before"),
        ({"rollout.stages": [{**STAGE, "share": 0}]}, r"rollout\.stages: a ramp of shadow alone"),
    ],
)
def test_an_invalid_value_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_params(broken(tmp_path, change))


@pytest.mark.parametrize(
    ("family", "search", "message"),
    [
        ("mlp", {"dropout": {"low": 0.0, "high": 1.0}}, r"dropout cannot be 1\.0: .*less than 1"),
        ("mlp", {"learning_rate": {"low": 0.0, "high": 0.1}}, r"learning_rate cannot be 0\.0: .*greater than 0"),
        (
            "mlp",
            {"epochs": {"low": 0, "high": 9, "integer": True}},
            r"epochs cannot be 0: .*or equal to 1",
        ),
        ("mlp", {"epochs": {"low": 2, "high": 9}}, r"epochs takes whole numbers; add integer: true"),
        ("mlp", {"epochs": {"low": 2.5, "high": 9}}, r"epochs takes whole numbers; add integer: true"),
        ("mlp", {"hidden": {"low": 16, "high": 64}}, r"hidden cannot be 16\.0: .*tuple"),
        ("mlp", {"hidden": {"choices": [[64], [64, 0]]}}, r"hidden cannot be \[64, 0\]: "),
        ("mlp", {"hidden": {"choices": [[64], 64]}}, r"hidden cannot be 64: "),
        ("mlp", {"positive_weight": {"choices": [2.0, "even"]}}, r"positive_weight cannot be 'even': "),
        ("dcn_v2", {"structure": {"choices": ["parallel", "series"]}}, r"structure cannot be 'series': .*'stacked'"),
        ("mmoe", {"experts": {"low": 1, "high": 4, "integer": True}}, r"experts cannot be 1: "),
        (
            "hist_gradient_boosting",
            {"max_features": {"low": 0.5, "high": 2.0, "when": {"max_iter": 50}}, "max_iter": {"choices": [50, 99]}},
            r"max_features cannot be 2\.0: ",
        ),
        ("logistic_regression", {"max_iter": {"choices": [100, None]}}, r"max_iter cannot be None: "),
    ],
)
def test_a_search_range_beyond_the_bounds_of_its_setting_is_refused(
    tmp_path: Path, family: str, search: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=rf"training: {family}\.search\.{message}"):
        load_params(broken(tmp_path, {f"training.{family}.search": search}))


def test_a_search_range_up_to_the_bounds_of_its_setting_is_read(tmp_path: Path) -> None:
    search = {
        "dropout": {"low": 0, "high": 0.99},
        "epochs": {"low": 1, "high": 9, "integer": True},
        "hidden": {"choices": [[], [64, 1]]},
        "positive_weight": {"choices": [2, "balanced"]},
        "focal_gamma": {"low": 0, "high": 3},
    }
    params = load_params(broken(tmp_path, {"training.mlp.search": search, "evaluation.bootstrap": 40}))
    assert set(params.training.mlp.search) == set(search)
    load_params(broken(tmp_path, {"training.ft_transformer.search": {"heads": {"choices": [1, 4]}}}))


def test_each_value_in_force_is_shown_with_its_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(TOY.read_text())
    assert main(["params", "--params", str(file), "--home", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    lines = {" ".join(line.split()) for line in shown.splitlines()}
    assert {
        "embargo_days: 2 # line 5",
        "train_days: 365 # default",
        "max_label_age_hours: 72.0 # default",
        "lag_days: 1 # from the label's maturity, 1 day, 0:00:00",
        "deadline_hours: 1080.0 # from rollout.judge.max_days",
        "floors: # default, and no failure of what `behaviour` declares",
    } <= lines
    again = tmp_path / "shown.yaml"
    again.write_text(shown)
    assert load_params(again) == load_params(file), "the output is a params file with the same values"


def test_a_section_can_be_shown_alone_and_an_unknown_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["params", "--params", str(TOY), "--home", str(tmp_path)]
    assert main([*words, "splits", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert list(values) == ["splits.train_days", "splits.validation_days", "splits.test_days", "splits.embargo_days"]
    assert values["splits.test_days"] == {"value": 10, "origin": "line 5"}
    assert main([*words, "split"]) == 2 and "did you mean splits" in capsys.readouterr().err


def test_a_merged_key_has_the_line_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("usecase: tests.toy\nsources:\n  a: &a {kind: bundled}\n  b:\n    <<: *a\n")
    assert key_lines(file) == {
        "usecase": 1,
        "sources": 2,
        "sources.a": 3,
        "sources.a.kind": 3,
        "sources.b": 4,
        "sources.b.kind": 3,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1", "cannot be read as YAML"), ("- 1", "holds list"), ("", "holds NoneType"), ("\x00", "cannot be read")],
)
def test_files_that_are_no_params_are_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        load_params(file)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("costs: {false_alarm: 1, miss: 50, true_alarm: 0.5}", r"the key 'costs' of line \d+ stands again in line \d+"),
        ("'costs': {}", "the key 'costs'"),
        ("more: {a: {b: 1, b: 2}}", "the key 'b'"),
        ("more: [{a: 1, 'a': 1}]", "the key 'a'"),
        ("more: {1: a, 0x1: b}", "the key 1"),
        ("more: {[a]: 1}", "cannot be read as YAML"),
    ],
)
def test_a_duplicate_key_is_refused_at_any_depth(tmp_path: Path, more: str, message: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(f"{TOY.read_text()}\n{more}\n")
    with pytest.raises(InvalidInput, match=message):
        load_params(file)


def test_two_merges_in_one_mapping_are_refused_as_by_dvc(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: *a\n  <<: *b\n")
    with pytest.raises(InvalidInput, match="'<<' of line 4 stands again in line 5"):
        read_yaml(file)
    with pytest.raises(YAMLFileCorruptedError):
        load_path(str(file), LocalFileSystem())


def test_keys_from_a_merge_may_be_overridden(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(file)["b"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        ({"typo": 1}, [], "typo: unknown key"),
        ({"usecase": "no.such.module"}, [], "no.such.module"),
        ({"source": {"kind": "files", "uri": "/nowhere/{table}.csv"}}, [], "/nowhere/flights.csv does not exist"),
        ({}, ["--end", "2013-01-01"], "holds no day"),
        ({}, ["--end", "2015-01-01"], "leaves the data of flights, which cover 2013-01-01 to 2014-01-01"),
        ({}, ["--end", "soon"], "end: "),
        ({}, ["--end", "@nowhere.json:end"], "no output 'end' in 'nowhere.json'"),
    ],
)
def test_the_command_line_reports_invalid_params_in_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], flags: list[str], message: str
) -> None:
    home = tmp_path / "home"
    end = flags or ["--end", "2013-01-03"]
    common = ["--params", str(broken(tmp_path, change)), "--home", str(home)]
    assert main(["ingest", *common, "--start", "2013-01-01", *end]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("flightdeck: ") and err.count("\n") == 1 and not out
    assert not list(home.rglob("*.parquet"))


def test_a_missing_params_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply_features", "--params", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml does not exist" in capsys.readouterr().err
