"""What is known of a pair of models before its rollout, and how it is used: scale, slices, missing inputs, plan."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines.artifacts.evaluation import Evaluation, read_scored
from pipelines.artifacts.scorer import Scorer, load_scorer
from pipelines.context import Context
from pipelines.deployment.foretold import Foretold, foretell
from pipelines.errors import CheckFailed, InvalidInput
from pipelines.records import Prediction
from pipelines.usecase import DAY, LABEL
from tests.postgres_fixtures import on_both
from tests.rollouts import set_alias
from tests.steps.deployment.rollout import champion_first, console, end, look, ramp, stage, start, traffic

pytestmark = on_both


def start_rollout_of_2(desk: Context) -> Foretold:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    assert start(desk)["proceed"]
    stage(desk, "shadow")
    return Foretold.model_validate(desk.rollouts.require("a").baseline.foretold)


def test_the_scatter_comes_from_both_models_on_the_test_window_of_the_challenger(desk: Context) -> None:
    baseline = start_rollout_of_2(desk)
    challenger, champion = desk.models.require("2"), desk.models.require("1")
    store = desk.data.store
    scored = read_scored(store, challenger.evaluation_uri, Evaluation.read(store, challenger.evaluation_uri))
    theirs = load_scorer(store, champion.model).score(scored)
    d = (scored["score"] - scored[LABEL]) ** 2 - (theirs - scored[LABEL]) ** 2
    means = d.groupby(scored[DAY]).mean()
    assert baseline.scatter is not None and baseline.scatter.blocks == len(means) == scored[DAY].nunique()
    assert baseline.scatter.sd == pytest.approx(means.std()) and baseline.scatter.largest == pytest.approx(
        means.abs().max()
    )
    assert baseline.blocks_per_day == 1 and baseline.row_reach == 1.0
    assert baseline.champion_loss == pytest.approx(((theirs - scored[LABEL]) ** 2).mean())
    assert desk.rollouts.require("a").baseline.champion_loss == baseline.champion_loss
    assert set(baseline.slices) == {f"kind={one}" for one in ("a", "b", "c", "d")}
    assert baseline.missing["gappy"] == pytest.approx(scored["gappy"].isna().mean()) and baseline.missing["x"] == 0


def test_a_champion_that_cannot_score_those_rows_leaves_the_scale_to_the_first_blocks(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, frame: object) -> None:
        raise InvalidInput("column z is missing")

    champion_first(desk)
    set_alias(desk, "challenger", "2")
    monkeypatch.setattr("pipelines.artifacts.scorer.Scorer.score", refuse)
    baseline = foretell(desk, desk.models.require("1").model, desk.models.require("2"))
    assert baseline.scatter is None and "column z is missing" in str(baseline.why) and baseline.missing
    why = start(desk)["why"]
    assert "cannot be told" in why and "column z is missing" in why
    monkeypatch.undo()
    stage(desk, "shadow")
    traffic(desk, 9)
    judgement = desk.decisions.get(look(desk, "shadow")["decision_id"])["evidence"]["judgement"]  # type: ignore[index]
    assert judgement["since"] == 5 and judgement["scale"] > 0


def test_a_champion_trained_on_the_test_window_gives_no_scale(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.deployment.foretold._learnt_until", lambda card: date(2024, 3, 3))
    baseline = foretell(desk, desk.models.require("1").model, desk.models.require("2"))
    assert (
        baseline.scatter is None
        and set(baseline.slices.values()) == {None}
        and "has learnt from days until 2024-03-03" in str(baseline.why)
    )
    assert baseline.champion_loss is not None and baseline.horizon == desk.params.rollout.judge.max_days


def test_a_start_says_what_to_expect_and_the_console_plans(
    desk: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    champion_first(desk)
    before = json.loads(console(desk, capsys, "rollout", "plan", "2", "--json"))
    assert before["champion"] == "1" and before["plan"]["rows"] and before["foretold"]["scatter"]
    set_alias(desk, "challenger", "2")
    why = start(desk)["why"]
    assert before["advice"] in why and "Equal models" in why and "the ramp alone takes" in why
    entry = next(one for one in desk.ledger.entries() if one.action == "start" and one.version == "2")
    assert entry.evidence["expected"] == before["advice"]
    shown = console(desk, capsys, "rollout", "plan")
    assert "| equal |" in shown and "Version 2 against champion 1" in shown
    narrow = console(desk, capsys, "rollout", "plan", "--margin", "0.001", "--days", "9")
    assert "the limit of 9 days" in narrow and "inconclusive" in narrow
    status = json.loads(console(desk, capsys, "rollout", "status", "--json"))
    assert status["year"] == {"rollouts": 1, "endings": {}, "alpha": 0.05, "false_at_most": 0.05}
    assert "1 rollouts began" in console(desk, capsys, "rollout", "status")


def test_a_plan_needs_a_champion(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInput, match="no champion"):
        console(desk, capsys, "rollout", "plan")


def test_invalid_options_of_the_console_are_named(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    start_rollout_of_2(desk)
    with pytest.raises(InvalidInput, match=r"--margin or --days: margin_share"):
        console(desk, capsys, "rollout", "plan", "--margin", "5")
    with pytest.raises(InvalidInput, match="takes no VERSION"):
        console(desk, capsys, "rollout", "abort", "7")
    assert desk.rollouts.under_way() is not None


def test_nan_scores_give_no_scale_and_no_loss(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Scorer.score
    monkeypatch.setattr(
        Scorer, "score", lambda self, frame: np.where(np.arange(len(frame)) < 3, np.nan, score(self, frame))
    )
    baseline = foretell(desk, desk.models.require("1").model, desk.models.require("2"))
    assert (
        baseline.scatter is None
        and baseline.champion_loss is None
        and "3 of the challenger's test rows" in str(baseline.why)
    )
    assert set(baseline.slices) == {f"kind={one}" for one in "abcd"} and set(baseline.slices.values()) == {None}


@pytest.mark.parametrize("odd", ["x\0y", "\\u0000"])
def test_odd_text_in_a_request_hides_no_slice_and_stops_no_look(desk: Context, odd: str) -> None:
    start_rollout_of_2(desk)
    traffic(desk, 6, request=lambda n, p: {"kind": "abcd"[n % 4], "note": odd, "of": 1.0})
    decision = desk.decisions.get(look(desk, "shadow")["decision_id"])
    assert decision is not None and set(decision["evidence"]["judgement"]["segments"]) == {f"kind={k}" for k in "abcd"}


def of_kinds(n: int, prediction: Prediction) -> dict[str, Any]:
    return {"kind": "abcd"[n % 4]}


def test_a_challenger_that_is_worse_in_one_slice_holds_and_names_the_slice(desk: Context) -> None:
    judge = desk.params.rollout.judge.model_copy(update={"segment_share": 0.15, "margin_share": 0.5})
    desk = replace(desk, params=with_judge(desk, judge=judge))
    start_rollout_of_2(desk)

    def scores(n: int, p: Prediction) -> dict[str, float | None]:
        risk = float(p.scores["1"] or 0)
        return {**p.scores, "2": 1 - risk if n % 4 == 2 else min(max(risk + 0.5 * (0.33 - risk), 0), 1)}

    answers = []
    for _ in range(30):
        traffic(desk, 1, request=of_kinds, scores=scores)
        answers.append(look(desk, "shadow"))
        if answers[-1]["rule"] == "segment":
            break
    assert answers[-1]["rule"] == "segment" and answers[-1]["action"] == "HOLD"
    assert "kind=c" in answers[-1]["next_step"] and "kind=a" not in answers[-1]["next_step"]


def with_judge(desk: Context, **changes: Any) -> Any:
    return desk.params.model_copy(update={"rollout": desk.params.rollout.model_copy(update=changes)})


@pytest.mark.parametrize(("starved", "rule"), [(0.9, "missing_inputs"), (0.2, "not")])
def test_a_rise_in_missing_inputs_holds(desk: Context, starved: float, rule: str) -> None:
    baseline = start_rollout_of_2(desk)
    draw = np.random.default_rng(3)

    def features(n: int, p: Prediction) -> dict[str, Any]:
        return {"x": 1.0, "y": 1.0, "gappy": None if draw.random() < starved else 1.0, "kind": "a", "site": "s01"}

    assert baseline.missing["gappy"] == pytest.approx(0.2, abs=0.05)
    traffic(desk, 6, features=features)
    answer = look(desk, "shadow")
    assert (answer["rule"] == "missing_inputs") is (rule == "missing_inputs")
    if rule == "missing_inputs":
        assert answer["action"] == "HOLD" and "gappy in 9" in answer["next_step"] and "; y" not in answer["next_step"]


def test_no_rollout_begins_where_predictions_influence_labels(desk: Context) -> None:
    champion_first(desk)
    usecase: Any = SimpleNamespace(**{**vars(desk.usecase), "influences_labels": True})
    with pytest.raises(CheckFailed, match="influence its labels"):
        start(replace(desk, usecase=usecase))
    assert desk.rollouts.get("a") is None and "challenger" not in desk.models.aliases(), "nothing was changed"


def test_versions_are_compared_by_the_loss_of_the_use_case(desk: Context) -> None:
    brier = foretell(desk, desk.models.require("1").model, desk.models.require("2"))
    usecase: Any = SimpleNamespace(**{**vars(desk.usecase), "loss": "log_loss"})
    baseline = foretell(replace(desk, usecase=usecase), desk.models.require("1").model, desk.models.require("2"))
    assert baseline.row_reach > 4 and baseline.champion_loss is not None and brier.champion_loss is not None
    assert baseline.champion_loss > 2 * brier.champion_loss
    other: Any = SimpleNamespace(**{**vars(desk.usecase), "loss": "squared"})
    with pytest.raises(InvalidInput, match="'squared'; rollouts compare"):
        foretell(replace(desk, usecase=other), desk.models.require("1").model, desk.models.require("2"))
    odd: Any = SimpleNamespace(**{**vars(desk.usecase), "loss": "hinge"})
    with pytest.raises(InvalidInput, match="hinge"):
        foretell(replace(desk, usecase=odd), desk.models.require("1").model, desk.models.require("2"))


def test_an_undecided_rollout_is_recorded_as_inconclusive_in_ledger_and_registry(desk: Context) -> None:
    judge = desk.params.rollout.judge.model_copy(update={"margin_share": 0.001, "max_days": 12})
    desk = replace(desk, params=with_judge(desk, judge=judge))
    champion_first(desk)
    answer = ramp(desk, days=20)
    assert (answer["action"], answer["rule"]) == ("INCONCLUSIVE", "time_limit")
    assert end(desk, answer)["action"] == "inconclusive"
    assert [one.action for one in desk.ledger.entries()][-1] == "inconclusive"
    version = desk.models.require("2")
    assert version.tags["rollout.verdict"] == "inconclusive" and version.tags["rollout.rule"].startswith("time limit")
    assert "blocks of" in version.tags["rollout.evidence"] and "The time is up" in version.tags["rollout.next"]
    shown = desk.tracker.client.get_model_version(desk.models.name, "2").description
    assert "- Rule: time limit" in shown and "- Evidence:" in shown and "- Next: The time is up" in shown
