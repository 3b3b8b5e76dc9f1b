"""What the console shows of versions: who served, comparisons, cards."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime

import pytest

from pipelines import console
from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.evaluation import Evaluation
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.version_card import Declared, VersionCard
from pipelines.console import models
from pipelines.context import Context
from pipelines.errors import FlightdeckError
from pipelines.records import Plan
from pipelines.registration.rendering import markdown, page
from pipelines.registration.version_cards import read_card
from pipelines.tracking.integrity import registered_digests
from tests.postgres_fixtures import on_both
from tests.steps.registration.versions import FAMILY, register

pytestmark = on_both


def test_the_serving_version_is_known_for_any_instant(desk: Context) -> None:
    plans = desk.plans
    days = [datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2, 3)]
    plans.replace(Plan.alone(1, "a", "1", ModelRef("u1", "s1"), days[0]))
    plans.replace(Plan(2, "b", "25", "1", "u1", "s1", "2", "u2", "s2", 0.25, days[1]))
    plans.replace(Plan.alone(3, "b", "2", ModelRef("u2", "s2"), days[2]))

    def served(text: str) -> dict[str, float]:
        shares: dict[str, float] = models.served_at(text, desk)[0]["versions"]
        return shares

    assert served("2024-04-30T23:59:59+00:00") == {}
    assert served("2024-05-01") == {"1": 1.0}
    assert served("2024-05-02T12:00:00+02:00") == {"1": 0.75, "2": 0.25}
    assert served("2024-05-03T00:00:00Z") == {"2": 1.0}
    for wrong in ("yesterday", "2024-05-02T12:00:00"):
        with pytest.raises(FlightdeckError, match=wrong):
            served(wrong)


def test_two_versions_are_compared_on_the_same_rows(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    register(desk)
    register(desk, "r2")
    comparison, show = models.answer({"verb": "compare", "versions": ["1", "2"]}, desk)
    assert comparison["paired"]["rows_of"] == "2" and comparison["paired"]["differences"]["log_loss_delta"] is not None
    assert (
        "sha256" in comparison["differing"]
        and "params_hash" not in comparison["differing"]
        and comparison["parameters"] == {}
    )
    assert {one["value"] for one in comparison["slices"]} == {"a", "b", "c", "d", "2024-03"}
    show()
    assert "log_loss" in capsys.readouterr().out


def test_the_card_describes_the_version(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = register(desk)
    facts, show = models.answer({"verb": "show", "version": "1", "card": True, "html": None}, desk)
    show()
    text = capsys.readouterr().out
    for part in ("Purpose", "Limits", "Ethics", "Owner", "Data", "Metrics", "Slices", "Calibration", "Gate", "Lineage"):
        assert part in text, part
    assert facts["metrics"]["roc_auc"][1] < facts["metrics"]["roc_auc"][0] < facts["metrics"]["roc_auc"][2]
    assert facts["lineage"]["git_commit"] == "c0ffee" and facts["gate"]["decision_id"]
    names = {file.path for file in desk.tracker.client.list_artifacts(outputs["run_id"], "model_card")}
    assert names == {f"model_card/model_card.{end}" for end in ("md", "html", "json")}
    assert facts == card_of(desk).as_json() and "<table>" in page(card_of(desk))


def test_the_card_is_available_as_json(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    register(desk)
    capsys.readouterr()
    arguments = {"step": "models", "verb": "show", "version": "1", "card": True, "html": None, "json": True}
    console.answer(arguments, desk)
    assert VersionCard.model_validate_json(capsys.readouterr().out) == card_of(desk)


def card_of(desk: Context, number: str = "1") -> VersionCard:
    card = read_card(desk.models.require(number), desk)
    assert card is not None
    return card


def test_the_card_shows_the_decisions_behind_the_model_and_its_results(desk: Context) -> None:
    register(desk)
    facts, version, store = card_of(desk), desk.models.require("1"), desk.data.store
    model = ModelCard.read(store, version.model_uri)
    tested = Evaluation.read(store, version.evaluation_uri).behaviour
    decision = desk.decisions.get(facts.gate.decision_id)
    assert decision is not None and model.refit and len(tested) == 3
    latency = decision["evidence"]["measured"][FAMILY]["latency_p95_ms"]
    files = registered_digests(version, desk.tracker)
    wanted = [
        f"Method: {model.calibration.method}, chosen by auto",
        *(f"{name} | {loss:.6g}" for name, loss in model.calibration.held_out_log_loss.items()),
        f"A score of {model.threshold.value:.6g} or more is an alarm",
        *(f"{what.replace('_', ' ')} | {cost:.6g}" for what, cost in model.threshold.costs.items()),
        "Refitted on training and validation rows",
        *(f"{one.name} | {one.kind} | passed | {one.rows} | {one.reason}" for one in tested),
        f"latency_p95_ms | {latency:.6g}",
        *(f"{folder}/{file} | {sha}" for folder in files for file, sha in files[folder].items()),
    ]
    readable = (markdown(facts).replace("\\", ""), html.unescape(re.sub(r"\s*(<[^>]*>\s*)+", " | ", page(facts))))
    assert [value for value in wanted for text in readable if value not in text] == []
    assert len(files["model"]) == 4 and len(files["evaluation"]) > 10


def test_text_of_users_on_a_card_is_escaped(desk: Context) -> None:
    register(desk)
    evil = "<script>x</script> [a](javascript:x) | # b\n\n# c `d` &lt; **e**"
    declared = Declared(**dict.fromkeys(Declared.model_fields, evil))
    card = card_of(desk).model_copy(update={"declared": declared})
    made, made_too = page(card.model_copy(update={"name": evil})), markdown(card)
    assert "<script>" not in made and "<a " not in made and "<strong>" not in made and "&amp;lt;" in made
    assert made.count("<h1>") == 1 and "\n# c" not in made_too
