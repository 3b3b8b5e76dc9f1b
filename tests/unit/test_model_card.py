"""A model card shows its facts, in Markdown and on the page: the values, not only the headings."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from pipelines.artifacts.version_card import Declared, VersionCard
from pipelines.registration.model_card import Sources, build
from pipelines.registration.rendering import markdown, page
from pipelines.usecase import ModelInputs
from tests.artifacts import evaluation, manifest, model_card

SHA = {name: name[0] * 64 for name in ("graph", "json", "frame")}
CARD: dict[str, Any] = {
    "family": "mlp",
    "params": {"hidden": [16], "dropout": 0.125},
    "seed": 7,
    "refit": True,
    "calibration": {
        "asked": "auto",
        "method": "platt",
        "slope": 1.5,
        "intercept": 0.1,
        "held_out_log_loss": {"none": 0.4444, "platt": 0.4321, "isotonic": 0.4343},
    },
    "environment": {"torch": "9.8.7"},
}
EVALUATION: dict[str, Any] = {
    "metrics": {"roc_auc": 0.71234, "cost": 0.5151},
    "intervals": {"roc_auc": [0.70123, 0.72345]},
    "rows": 1500,
    "days": 31,
    "window": ["2024-03-01", "2024-04-01"],
    "slices": {"kind": [{"value": "a", "rows": 900, "ranked": True, "roc_auc": 0.66, "log_loss": 0.5,
                         "calibration_error": 0.02}]},
    "threshold": {"value": 0.2718, "costs": {"false_alarm": 1.25, "miss": 3.5, "true_alarm": 0.75}, "alarms": 0.3141},
    "behaviour": [
        {"name": "noise", "kind": "invariance", "status": "passed", "rows": 1499, "reason": "0.00% move"},
        {"name": "fog", "kind": "direction", "status": "failed", "rows": 1498, "reason": "it went down"},
        {"name": "ranks", "kind": "minimum", "status": "could_not_run", "rows": 0, "reason": "no row"},
    ],
}  # fmt: skip
MANIFEST = manifest(
    **{key: f"the {key}" for key in ("data_version", "feature_service", "registry_hash")},
    as_of="2024-04-02T00:00:00+00:00",
    rows={"train": 3000},
    windows={"train": ["2024-01-01", "2024-02-01"]},
)
DECISION: dict[str, Any] = {
    "id": "d3c1d3",
    "evidence": {
        "chosen": {"findings": [{"gate": {"metric": "size_bytes"}, "verdict": "PASS", "reason": "small enough"}]},
        "champion": {"deltas": {"log_loss_delta": -0.0123, "log_loss_delta_low": -0.02, "log_loss_delta_high": 0.001}},
        "measured": {"mlp": {"latency_p95_ms": 0.1234}, "dcn_v2": {"latency_p95_ms": 9.8765}},
    },
}
TAGS = {"git_commit": "c0ffee"}
FILES = {
    "model": {"model.onnx": SHA["graph"], "model.json": SHA["json"]},
    "evaluation": {"scored.parquet": SHA["frame"]},
}
DECLARED = Declared(purpose="why", limits="where not", ethics="who", owner="us")


def facts(card: dict[str, Any] | None = None, **changes: Any) -> VersionCard:
    points = [{"mean_score": 0.11, "observed_rate": 0.13, "rows": 150.0}]
    model = model_card(ModelInputs(("visib",), ("origin",)), **{**CARD, **(card or {})})
    sources = Sources(model, evaluation(**{**EVALUATION, **changes}), MANIFEST, points, DECISION)
    return build("pumps", "3", TAGS, FILES, DECLARED, sources)


def section(rendered: VersionCard, heading: str) -> list[str]:
    """The text under a heading: in Markdown without escapes, and on the page without markup."""
    plain = re.sub(r"\\(.)", r"\1", markdown(rendered))
    bare = html.unescape(re.sub(r"<[^>]*>", " ", page(rendered).replace("<h2>", "\n## ")))
    return [text.partition(f"\n## {heading}")[2].partition("\n## ")[0] for text in (plain, bare)]


def test_the_card_names_further_outputs_where_there_are_any() -> None:
    line = "Further outputs, uncalibrated probabilities: cancelled, diverted."
    assert all(line in part for part in section(facts({"further": ["cancelled", "diverted"]}), "Calibration"))
    assert "Further outputs" not in markdown(facts())
    assert "further" not in facts().as_json()


@pytest.mark.parametrize(
    ("heading", "values"),
    [
        ("Data", ["the data_version", "2024-04-02T00:00:00+00:00", "2024-01-01", "3000", "visib, origin"]),
        ("Training", ["Refitted on training and validation rows together", "dropout", "0.125", "seed", "7"]),
        ("Compression", ["None."]),
        ("Metrics", ["roc_auc", "0.71234", "0.70123", "0.72345", "cost", "0.5151", "31 days"]),
        ("Slices", ["By kind", "900", "0.66", "worst a"]),
        ("Calibration", ["platt, chosen by auto", "0.4444", "0.4321", "0.4343", "0.11", "0.13", "150"]),
        ("Decision threshold", ["0.2718", "31.4%", "false alarm", "1.25", "miss", "3.5", "true alarm", "0.75"]),
        ("Behaviour", ["noise", "passed", "0.00% move", "fog", "failed", "it went down", "1498", "could not run"]),
        ("Gate", ["d3c1d3", "size_bytes", "small enough", "latency_p95_ms", "0.1234", "log_loss", "-0.0123", "0.001"]),
        ("Lineage", ["git_commit", "c0ffee", "torch", "9.8.7"]),
        ("Files", ["model/model.onnx", SHA["graph"], "model/model.json", "evaluation/scored.parquet", SHA["frame"]]),
        ("Verification", ["Not rebuilt yet."]),
    ],
)
def test_every_value_stands_under_its_heading(heading: str, values: list[str]) -> None:
    for text in section(facts(), heading):
        assert [value for value in values if value not in text] == []


def test_the_card_says_what_was_resampled() -> None:
    for text in section(facts(), "Metrics"):
        assert "On 1500 rows of 31 days" in text and "Intervals of 95 % are from resampled days." in text
    for text in section(facts(blocks=744), "Metrics"):
        assert "of 31 days" in text and "from 744 resampled blocks." in text
    assert "blocks" not in facts().as_json()


def test_the_latency_of_another_candidate_is_not_shown_as_the_versions() -> None:
    assert "9.8765" not in markdown(facts()).replace("\\", "")


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        ({"asked": "isotonic", "method": "isotonic"}, "isotonic, set by training.calibration"),
        (
            {"asked": "auto", "method": "none", "held_out_log_loss": {}},
            "none, chosen by auto without a comparison",
        ),
    ],
)
def test_the_card_says_how_the_calibration_was_chosen(calibration: dict[str, Any], sentence: str) -> None:
    card = facts({"calibration": calibration})
    for text in section(card, "Calibration"):
        assert f"Method: {sentence}" in text and "log loss" not in text


def test_a_model_that_was_not_refitted_says_so() -> None:
    for text in section(facts({"refit": False}), "Training"):
        assert "Fitted on the training window alone" in text and "Refitted" not in text


def test_a_card_without_behavioural_tests_says_so() -> None:
    for text in section(facts(behaviour=[]), "Behaviour"):
        assert "No test is declared" in text


def test_the_facts_survive_json() -> None:
    card = VersionCard.model_validate_json(json.dumps(facts().as_json()))
    assert card == facts() and markdown(card) == markdown(facts())
    assert card.sha256["model"]["model.onnx"] == SHA["graph"]
