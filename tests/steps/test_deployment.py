"""The rollout's steps over real models, SQLite records and SQLite MLflow, with traffic that is simulated."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from pipelines.context import Context
from pipelines.deployment.aliases import alias_news, pending_news
from pipelines.deployment.evidence import closing
from pipelines.deployment.pulse import goes_on, pulse
from pipelines.errors import CheckFailed, CorruptData, InvalidInput, MissingData
from pipelines.params import load_params
from pipelines.records import Plan
from pipelines.records.predictions import OUTCOMES
from pipelines.settings import Settings
from pipelines.steps import execute
from tests.conftest import TOY
from tests.editing import edit
from tests.postgres_fixtures import on_both
from tests.predictions import labels, read_log
from tests.rollouts import Score, home_with_versions, inverted, same, set_alias, shuffled
from tests.rollouts import traffic as simulated
from tests.synthetic import INPUTS, small_params

pytestmark = on_both
START = datetime(2024, 4, 1, tzinfo=UTC)
STAGES = ("shadow", "25", "100")
MATURITY = timedelta(days=1)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at

    def advance(self, **by: float) -> None:
        self.at += timedelta(**by)


def open_context(home: Path, **places: str) -> Context:
    params = small_params().model_copy(update={"rollout": load_params(TOY).rollout})
    usecase: Any = SimpleNamespace(
        name="pumps", slices=("kind",), timezone="UTC", model_inputs=INPUTS, maturity=MATURITY
    )
    context = Context(Settings(home=home, **places), params, usecase)
    return context.replaced(clock=Clock(START))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home_with_versions(tmp_path_factory.mktemp("deployment") / "home")


@pytest.fixture
def desk(template: Path, tmp_path: Path, records_place: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The template's home, put back as it was, with empty records; nothing else sets an alias meanwhile."""
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.0)
    kept = template.with_name("kept")
    if not kept.exists():
        shutil.copytree(template, kept)
    shutil.rmtree(template)
    shutil.copytree(kept, template)
    database = shutil.copy(template / "mlflow" / "mlflow.db", tmp_path)
    return open_context(template, mlflow_uri=f"sqlite:///{database}", records_uri=records_place)


def clock(context: Context) -> Clock:
    assert isinstance(context.clock, Clock)
    return context.clock


def start(context: Context, version: str = "2", run: str = "a", **changes: Any) -> dict[str, Any]:
    return execute("start_rollout", {"version": version, "actor": "test", "run": run, **changes}, context)


def finish(context: Context, action: str, run: str = "a", **changes: Any) -> dict[str, Any]:
    return execute("finish_rollout", {"rollout": run, "action": action, "reason": "because", **changes}, context)


def stage(context: Context, name: str, run: str = "a") -> dict[str, Any]:
    return execute("set_stage", {"rollout": run, "stage": name}, context)


def look(context: Context, name: str, run: str = "a", **changes: Any) -> dict[str, Any]:
    return execute("judge_rollout", {"rollout": run, "stage": name, **changes}, context)


def champion_first(context: Context) -> None:
    """Version 1 as the first champion."""
    change = set_alias(context, "challenger", "1")
    set_alias(context, "champion", "1")
    assert start(context, "1", "first", change=change)["direct"]
    assert finish(context, "promote", "first")["champion"] == "1"


def in_force(context: Context) -> Plan:
    plan = context.plans.current()
    assert plan is not None
    return plan


def traffic(context: Context, days: int, *given: Any, **changes: Any) -> None:
    simulated(context, lambda to: setattr(clock(context), "at", to), days, *given, **changes)


def ramp(context: Context, ours: Score = same, days: int = 40, **changes: Any) -> dict[str, Any]:
    """A whole rollout of version 2, looked at after every day; gives the answer that ended it."""
    change = set_alias(context, "challenger", "2")
    assert start(context, change=change)["proceed"]
    for name in STAGES:
        assert stage(context, name)["in_force"]
        answer = look(context, name)
        while answer["action"] == "HOLD" and days:
            traffic(context, 1, ours, **changes)
            days -= 1
            answer = look(context, name)
        if answer["action"] != "ADVANCE":
            return answer
    raise AssertionError("the last stage cannot advance")


def end(context: Context, answer: dict[str, Any]) -> dict[str, Any]:
    ending = {"PROMOTE": "promote", "ROLLBACK": "rollback", "KEEP_CHAMPION": "keep", "ABORT": "abort"}
    return finish(context, ending[answer["action"]], decision_id=answer["decision_id"], reason=answer["reason"])


def test_the_first_model_goes_straight_to_all_traffic(desk: Context) -> None:
    champion_first(desk)
    plan = in_force(desk)
    assert (plan.champion, plan.challenger, plan.share, plan.stage) == ("1", None, 0.0, "")
    assert desk.models.aliases() == {"champion": "1"}
    assert [(e.action, e.version, e.share) for e in desk.ledger.entries()] == [
        ("start", "1", 0.0),
        ("promote", "1", 1.0),
    ]
    assert desk.models.resolve(version="1").tags["rollout.verdict"] == "promote"  # type: ignore[union-attr]
    for alias in ("challenger", "champion"):
        assert alias_news(alias, desk) is None, "what the chain sets itself is no news"


def test_an_equal_model_is_promoted(desk: Context) -> None:
    champion_first(desk)
    traffic(desk, 3)
    answer = ramp(desk)
    assert answer["action"] == "PROMOTE", answer
    assert end(desk, answer)["action"] == "promote"
    assert desk.models.aliases() == {"champion": "2", "previous": "1"}
    assert (in_force(desk).champion, in_force(desk).challenger) == ("2", None)
    entry = desk.ledger.entries()[-1]
    assert (entry.action, entry.previous, entry.share) == ("promote", "1", 1.0)
    assert entry.evidence["judgement"]["rule"] == "gates"
    assert [e.share for e in desk.ledger.entries() if e.action == "advance"] == [0, 0.25, 1]
    version = desk.tracker.client.get_model_version("pumps", "2")
    assert (
        "ended with `promote`" in version.description and version.tags["rollout.decision_id"] == answer["decision_id"]
    )
    facts = desk.ledger.entries()[2].evidence
    assert facts["champion_loss_from"] == "production" and facts["slow_ms"] > 0
    for alias in ("challenger", "champion"):
        assert alias_news(alias, desk) is None
    before = in_force(desk), desk.models.aliases()
    assert end(desk, answer)["action"] == "promote" and (in_force(desk), desk.models.aliases()) == before


@pytest.mark.parametrize("ours", [inverted, lambda risk, draw: np.full(len(risk), 0.9)])
def test_a_disaster_is_rolled_back_soon_and_rolling_back_is_idempotent(desk: Context, ours: Score) -> None:
    champion_first(desk)
    answer = ramp(desk, ours)
    assert answer["action"] == "ROLLBACK" and answer["rows"] < 1000
    assert clock(desk).now() - START <= timedelta(days=6)
    assert end(desk, answer) == end(desk, answer)
    assert desk.models.aliases() == {"champion": "1"} and in_force(desk).champion == "1"
    plans = in_force(desk).version
    assert finish(desk, "promote")["action"] == "rollback", "the first ending stands"
    assert in_force(desk).version == plans and desk.models.aliases() == {"champion": "1"}


def test_a_label_shuffled_model_is_never_promoted(desk: Context) -> None:
    champion_first(desk)
    answer = ramp(desk, shuffled, days=45)
    assert answer["action"] in ("ROLLBACK", "KEEP_CHAMPION")
    end(desk, answer)
    assert in_force(desk).champion == "1" and desk.models.aliases() == {"champion": "1"}


def test_without_traffic_or_labels_nothing_is_promoted(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    for _ in range(39):
        assert look(desk, "shadow")["action"] == "HOLD"
        clock(desk).advance(days=1)
    clock(desk).advance(days=2)
    assert look(desk, "shadow")["action"] == "KEEP_CHAMPION"


@pytest.mark.parametrize(
    ("scores", "errors", "rule"),
    [
        (float("nan"), {}, "nan_output"),
        (None, {"2": "its score is nan, no probability"}, "nan_output"),
        (None, {"2": "its score is 1.5, no probability"}, "out_of_range_output"),
        (1.5, {}, "out_of_range_output"),
        (None, {"2": "no output"}, "combined_evidence"),
    ],
)
def test_broken_output_is_rolled_back_without_labels(desk: Context, scores: Any, errors: Any, rule: str) -> None:
    champion_first(desk)
    answer = ramp(desk, scores=lambda n, p: {**p.scores, "2": scores}, errors=lambda n, p: errors)
    assert (answer["action"], answer["rule"]) == ("ROLLBACK", rule)
    assert answer["rows"] == 0


def test_a_challenger_that_never_scores_is_not_promoted(desk: Context) -> None:
    champion_first(desk)
    answer = ramp(desk, scores=lambda n, p: {"1": p.scores["1"]}, days=45)
    assert answer["action"] == "KEEP_CHAMPION"


def test_a_champion_that_fails_does_not_stop_its_successor(desk: Context) -> None:
    champion_first(desk)
    answer = ramp(desk, failing={"1": 0.1})
    assert answer["action"] == "PROMOTE"
    evidence = desk.decisions.get(answer["decision_id"])["evidence"]  # type: ignore[index]
    assert evidence["judgement"]["log_e"]["split"] < 0 and not evidence["flags"]["misrouted"]


@pytest.mark.parametrize("rate", [0.1, 1.0], ids=["on some requests", "not loaded"])
def test_a_challenger_that_fails_is_rolled_back_by_its_errors(desk: Context, rate: float) -> None:
    champion_first(desk)
    answer = ramp(desk, failing={"2": rate})
    assert (answer["action"], answer["rule"]) == ("ROLLBACK", "combined_evidence") and "errors" in answer["next_step"]


def test_an_answer_that_the_plan_did_not_assign_holds_and_is_explained(
    desk: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 6, failing={"1": 0.2})
    assert look(desk, "shadow")["action"] == "ADVANCE"
    answered = {p.prediction_id: p for p in read_log(desk.predictions)}
    stood_in = next(p for p in answered.values() if p.served == "2")
    shown = console(desk, capsys, "explain", stood_in.prediction_id)
    assert "version 1, by the plan; it failed, so version 2 answered" in shown
    traffic(desk, 1, served=lambda n, p: "2" if n == 7 else p.served)
    answer = look(desk, "shadow")
    assert (answer["action"], answer["rule"]) == ("HOLD", "misrouted")
    wrong = next(p for p in read_log(desk.predictions) if p.served == "2" and not p.errors)
    assert "it did not fail" in console(desk, capsys, "explain", wrong.prediction_id)
    assert json.loads(console(desk, capsys, "explain", wrong.prediction_id, "--json"))["assigned"] == "1"


def test_the_same_look_gives_the_same_bytes_and_later_labels_change_no_increment(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 4)
    first = look(desk, "shadow")
    decision = desk.decisions.get(first["decision_id"])
    assert look(desk, "shadow") == first
    assert json.dumps(desk.decisions.get(first["decision_id"])) == json.dumps(decision)
    assert decision is not None and decision["kind"] == "rollout" and decision["verdict"] == first["action"]
    increments = decision["evidence"]["increments"]
    assert len(increments) == first["blocks"] == 3, "the last day's labels have not matured"
    log = desk.predictions
    late = read_log(log)[0]
    log.append([replace(late, prediction_id="late", scores={"1": 0.0, "2": 1.0})])
    log.record_outcomes([("late", 0.0, clock(desk).now())])
    traffic(desk, 1)
    again = desk.decisions.get(look(desk, "shadow")["decision_id"])
    assert again is not None and increments.items() <= again["evidence"]["increments"].items()


def test_a_champion_that_changes_aborts_the_rollout(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 2)
    desk.models.set_alias("champion", "3")
    answer = look(desk, "shadow")
    assert answer["action"] == "ABORT" and "alias champion points to version 3" in answer["reason"]
    assert stage(desk, "25")["in_force"] is False
    assert finish(desk, "promote")["action"] == "abort"
    assert in_force(desk).champion == "1" and desk.models.aliases() == {"champion": "3"}
    assert execute("reconcile_aliases", {}, desk)["champion"] == "3"


def test_a_champion_set_by_hand_is_honoured_at_once(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    stage(desk, "shadow")
    desk.models.set_alias("champion", "3")
    assert alias_news("champion", desk) == {"alias": "champion", "version": "3", "change": 2}
    assert alias_news("champion", desk) is None
    assert pending_news("champion", desk, again=True) is not None
    done = execute("reconcile_aliases", {}, desk)
    assert done["changed"] and done["champion"] == "3"
    assert not execute("reconcile_aliases", {}, desk)["changed"]
    assert pending_news("champion", desk, again=True) is None, "it was honoured"
    ledger = desk.ledger.entries()
    assert [(e.actor, e.action, e.version) for e in ledger[-2:]] == [
        ("out-of-band", "abort", "2"),
        ("out-of-band", "forced_promotion", "3"),
    ]
    assert ledger[-1].previous == "1"
    assert desk.models.aliases() == {"champion": "3", "previous": "1"}
    assert look(desk, "shadow")["action"] == "ABORT"
    assert finish(desk, "abort")["champion"] == "3"
    desk.models.set_alias("champion", "1")
    assert execute("reconcile_aliases", {}, desk)["champion"] == "1"


@pytest.mark.parametrize("at", ["state.put_in_force", "state.keep_previous", "retire"])
def test_a_forced_promotion_that_is_killed_on_the_way_is_completed_by_the_retry(
    desk: Context, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    desk.models.set_alias("champion", "3")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"pipelines.deployment.override.{at}", killed)
        execute("reconcile_aliases", {}, desk)
    execute("reconcile_aliases", {}, desk)
    execute("reconcile_aliases", {}, desk)
    assert (in_force(desk).champion, in_force(desk).challenger) == ("3", None)
    assert desk.models.aliases() == {"champion": "3", "previous": "1"}
    entries = [(entry.action, entry.version, entry.previous) for entry in desk.ledger.entries()]
    assert entries[-2:] == [("abort", "2", "1"), ("forced_promotion", "3", "1")]


def test_an_altered_champion_set_by_hand_is_refused_and_the_plan_stays(desk: Context) -> None:
    champion_first(desk)
    graph = Path(desk.models.resolve(version="3").model_uri) / "model.onnx"  # type: ignore[union-attr]
    graph.write_bytes(graph.read_bytes()[:-10])
    desk.models.set_alias("champion", "3")
    for _ in range(2):
        with pytest.raises(CheckFailed, match=r"version 3 cannot serve: .* version 1 stays"):
            execute("reconcile_aliases", {}, desk)
    assert in_force(desk).champion == "1"
    assert [e.action for e in desk.ledger.entries()].count("refused") == 1
    desk.models.set_alias("champion", "1")
    assert not execute("reconcile_aliases", {}, desk)["changed"]
    set_alias(desk, "challenger", "2")
    assert start(desk)["proceed"]


def test_a_loss_that_was_edited_is_no_baseline(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    champion = desk.models.require("1")
    edit(f"{champion.evaluation_uri}/metrics.json", lambda e: e["metrics"].update(brier=0.5))
    with pytest.raises(CorruptData, match=r"metrics\.json was altered"):
        start(desk)
    assert in_force(desk).champion == "1" and in_force(desk).challenger is None


def test_every_plan_names_the_digests_of_its_versions(desk: Context) -> None:
    known: dict[str | None, str | None] = {one.version: one.sha256 for one in desk.models.versions()}
    known[None] = None
    seen = []

    def held() -> None:
        plan = in_force(desk)
        assert (plan.champion_sha256, plan.challenger_sha256) == (known[plan.champion], known[plan.challenger])
        seen.append((plan.champion, plan.challenger))

    champion_first(desk)
    held()
    for run, ending in (("a", "rollback"), ("b", "promote")):
        start(desk, run=run)
        stage(desk, "shadow", run)
        held()
        finish(desk, ending, run)
        held()
    desk.models.set_alias("champion", "3")
    execute("reconcile_aliases", {}, desk)
    held()
    assert seen == [("1", None), ("1", "2"), ("1", None), ("1", "2"), ("2", None), ("3", None)]


def test_preflight_passes_what_was_evaluated(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    seen = execute("preflight", {"rollout": "a", "version": "2"}, desk)
    assert seen["rows"] == 50 and seen["max_difference"] <= 1e-5 and seen["p95_ms"] > 0


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("altered", "has sha256"),
        ("missing", "does not exist"),
        ("other", "registered is"),
        ("scores", "from the recorded"),
        ("evaluation", r"metrics\.json was altered"),
    ],
)
def test_an_altered_artifact_fails_preflight_and_the_champion_stays(desk: Context, harm: str, reason: str) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    found, third = desk.models.resolve(version="2"), desk.models.resolve(version="3")
    assert found and third
    if harm == "altered":
        graph = Path(found.model_uri) / "model.onnx"
        graph.write_bytes(graph.read_bytes() + b"\0")
    elif harm == "missing":
        shutil.rmtree(found.model_uri)
    elif harm == "other":
        for file in Path(third.model_uri).iterdir():
            shutil.copy(file, found.model_uri)
    elif harm == "evaluation":
        edit(f"{found.evaluation_uri}/metrics.json", lambda e: e["metrics"].update(brier=0.01))
    else:
        desk.tracker.client.set_model_version_tag("pumps", "2", "evaluation_uri", third.evaluation_uri)
    with pytest.raises(CheckFailed, match=f"version 2 may not serve: .*{reason}.*; the champion stays"):
        execute("preflight", {"rollout": "a", "version": "2"}, desk)
    assert finish(desk, "rollback")["champion"] == "1" and desk.models.aliases() == {"champion": "1"}


def test_a_first_model_that_fails_preflight_is_no_champion(desk: Context) -> None:
    change = set_alias(desk, "challenger", "1")
    set_alias(desk, "champion", "1")
    assert start(desk, "1", "first", change=change)["direct"]
    assert finish(desk, "rollback", "first") == {"action": "rollback", "reason": "because", "champion": None}
    assert desk.models.aliases() == {} and desk.plans.current() is None
    change = set_alias(desk, "challenger", "2")
    assert start(desk, "2", "second", change=change)["direct"]


def test_a_rollout_starts_once_for_a_change_whichever_way_the_news_arrives(desk: Context) -> None:
    champion_first(desk)
    change = set_alias(desk, "challenger", "2")
    places = {"mlflow_uri": desk.settings.mlflow, "records_uri": desk.settings.records}

    def begin(run: str) -> dict[str, Any]:
        return start(open_context(desk.settings.home, **places), run=run, change=change)

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(begin, ["training", "watcher"]))
    assert sorted(one["proceed"] for one in both) == [False, True]
    winner = next(one["rollout"] for one in both if one["proceed"])
    assert start(desk, run=winner, change=change)["proceed"], "a retry goes on"
    assert not start(desk, run="late", change=change)["proceed"]
    finish(desk, "keep", winner)
    assert not start(desk, run="later", change=change)["proceed"]
    assert len([e for e in desk.ledger.entries() if e.action == "start"]) == 2


def test_the_same_version_may_challenge_again(desk: Context) -> None:
    champion_first(desk)
    desk.models.set_alias("challenger", "2")
    news = alias_news("challenger", desk)
    assert news == {"alias": "challenger", "version": "2", "change": 3}  # 1: version 1, 2: its removal
    assert start(desk, change=3)["proceed"]
    finish(desk, "keep")
    assert alias_news("challenger", desk) is None
    desk.models.set_alias("challenger", "2")
    assert alias_news("challenger", desk) == {"alias": "challenger", "version": "2", "change": 5}
    assert not start(desk, run="b", change=3)["proceed"]
    assert start(desk, run="c", change=5)["proceed"]


def test_the_form_sets_the_alias_and_a_retry_does_not_set_it_again(desk: Context) -> None:
    champion_first(desk)
    assert start(desk)["proceed"] and desk.models.aliases()["challenger"] == "2"
    assert alias_news("challenger", desk) is None
    finish(desk, "abort")
    assert not start(desk)["proceed"] and "challenger" not in desk.models.aliases()
    assert start(desk, run="b")["proceed"]


def test_a_second_rollout_waits_for_the_first(desk: Context) -> None:
    champion_first(desk)
    set_alias(desk, "challenger", "2")
    start(desk)
    change = set_alias(desk, "challenger", "3")
    with pytest.raises(CheckFailed, match="rollout a of version 2 is under way"):
        start(desk, "3", "b", change=change)
    finish(desk, "keep")
    assert desk.models.aliases()["challenger"] == "3", "it was set anew, so it stays"
    assert start(desk, "3", "b", change=change)["proceed"]


def test_what_cannot_be_rolled_out_is_said(desk: Context) -> None:
    champion_first(desk)
    with pytest.raises(MissingData, match="no version 9 of the chain; there are: 1, 2, 3"):
        start(desk, "9")
    again = start(desk, "1", "again")
    assert not again["proceed"] and "is the champion already" in again["why"]
    desk.models.set_alias("challenger", "2")
    start(desk)
    with pytest.raises(InvalidInput, match="stage '7' is not one of shadow, 25, 100"):
        stage(desk, "7")
    with pytest.raises(CheckFailed, match="stage 100 is not next"):
        stage(desk, "100")
    with pytest.raises(InvalidInput, match="no rollout 'x'"):
        look(desk, "shadow", "x")
    assert finish(desk, "rollback", "x")["action"] == "none"


def test_a_stage_is_set_once_and_a_late_retry_lowers_nothing(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    first = stage(desk, "shadow")
    assert stage(desk, "shadow")["plan"] == first["plan"]
    stage(desk, "25")
    assert stage(desk, "shadow")["share"] == 0.25 and in_force(desk).share == 0.25
    passed = look(desk, "shadow")
    assert (passed["action"], passed["rule"]) == ("ADVANCE", "stage_passed"), "the task of a passed stage was cleared"
    assert look(desk, "100")["action"] == "HOLD", "another stage is in force"
    assert [entry.reason for entry in desk.ledger.entries()[-2:]] == ["stage shadow", "stage 25"]


def test_a_stage_whose_task_was_killed_before_the_ledger_is_entered_by_the_retry(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion_first(desk)
    start(desk)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipelines.records.ledger.Ledger.enter", killed)
        stage(desk, "shadow")
    assert in_force(desk).stage == "shadow"
    clock(desk).advance(hours=1)
    assert stage(desk, "shadow")["in_force"]
    last = desk.ledger.entries()[-1]
    assert (last.action, last.reason, last.at) == ("advance", "stage shadow", in_force(desk).since)


def test_a_start_that_fails_leaves_its_change_to_the_next(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    champion_first(desk)
    change = set_alias(desk, "challenger", "2")
    with monkeypatch.context() as patch, pytest.raises(MissingData):
        patch.setattr("pipelines.deployment.baseline.production", lambda *_: (_ for _ in ()).throw(MissingData("gone")))
        start(desk, change=change, run="broken")
    assert finish(desk, "rollback", "broken")["action"] == "none"
    assert start(desk, change=change, run="whole")["proceed"]


def test_a_version_whose_artifact_is_gone_is_not_promoted_by_hand(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    model = desk.models.resolve(version="2")
    assert model is not None
    graph = Path(model.model_uri) / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckFailed, match="version 2 cannot serve"):
        finish(desk, "promote", actor="ada")
    assert in_force(desk).champion == "1" and in_force(desk).challenger == "2", "nothing has changed"
    assert finish(desk, "rollback", actor="ada")["champion"] == "1"


def test_a_label_that_comes_at_the_instant_of_a_look_changes_nothing_about_it(desk: Context) -> None:
    """The look that sees it comes later, and its block has closed without it for good."""
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 4)
    now, log = clock(desk).now(), desk.predictions
    assert closing((START + timedelta(days=2)).date(), "UTC", MATURITY) == now, "a block closes at this very instant"
    known, late = labels(log), {made.prediction_id for made in read_log(log) if made.block > START.date()}
    with desk.records.engine.begin() as connection:
        connection.execute(sa.delete(OUTCOMES).where(OUTCOMES.c.prediction_id.in_(late)))
    before = look(desk, "shadow")
    assert (before["rule"], before["blocks"]) == ("missing_data", 1)
    log.record_outcomes([(identity, known[identity][0], now) for identity in sorted(late)])
    assert look(desk, "shadow") == before
    clock(desk).advance(microseconds=1)
    after = look(desk, "shadow")
    assert (after["action"], after["blocks"]) == ("ADVANCE", 1)


def test_a_request_that_comes_at_the_instant_of_a_look_changes_nothing_about_it(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 4)
    now, before = clock(desk).now(), look(desk, "shadow")
    traffic(desk, 1, a_day=1, errors=lambda n, p: {"2": "no output"})
    clock(desk).at = now
    assert read_log(desk.predictions)[-1].predicted_at == now
    assert look(desk, "shadow") == before
    clock(desk).advance(microseconds=1)
    assert look(desk, "shadow")["pulse"] != before["pulse"]


def test_an_abort_by_hand_and_a_promotion_by_hand(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    seen = pulse("a", desk)
    assert pulse("a", desk) == seen
    finish(desk, "abort", actor="ada")
    assert pulse("a", desk) != seen and look(desk, "shadow")["action"] == "ABORT"
    assert in_force(desk).challenger is None and in_force(desk).champion == "1"
    start(desk, run="b")
    stage(desk, "shadow", "b")
    held = look(desk, "shadow", "b")
    with pytest.raises(CheckFailed, match="is HOLD, not PROMOTE"):
        finish(desk, "promote", "b", decision_id=held["decision_id"])
    assert finish(desk, "promote", "b", actor="ada")["champion"] == "2"
    assert desk.ledger.entries()[-1].actor == "ada"
    finish(desk, "abort", "a")
    assert in_force(desk).champion == "2", "what came later is left alone"


def test_the_wall_clock_running_out_keeps_the_champion(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    answer = look(desk, "shadow", out_of_time=True)
    assert (answer["action"], answer["rule"]) == ("KEEP_CHAMPION", "wall_clock")


def test_the_pulse_changes_when_the_judge_may_answer_differently(desk: Context) -> None:
    champion_first(desk)
    start(desk)
    stage(desk, "shadow")
    seen = {pulse("a", desk)}
    traffic(desk, 1, a_day=10)
    seen.add(pulse("a", desk))  # a day passed
    clock(desk).advance(hours=1)
    assert pulse("a", desk) in seen
    clock(desk).advance(days=1)
    seen.add(pulse("a", desk))  # its block closed
    traffic(desk, 1, a_day=1, errors=lambda n, p: {"2": "no output"})
    seen.add(pulse("a", desk))
    assert len(seen) == 4


def test_whoever_drives_the_clock_waits_until_the_judge_has_held_on_what_there_is(desk: Context) -> None:
    champion_first(desk)
    assert not goes_on(desk, 0), "no rollout is in force"
    start(desk)
    stage(desk, "shadow")
    with pytest.raises(CheckFailed, match="nobody has judged rollout a"):
        goes_on(desk, 0)
    assert look(desk, "shadow")["action"] == "HOLD" and goes_on(desk, 0)
    traffic(desk, 3)
    with pytest.raises(CheckFailed, match="rollout abort"):
        goes_on(desk, 0)
    while (answer := look(desk, "shadow"))["action"] == "HOLD":
        assert goes_on(desk, 0)
        traffic(desk, 1)
    assert answer["action"] == "ADVANCE"
    with pytest.raises(CheckFailed):
        goes_on(desk, 0)  # the next stage is about to be set
    finish(desk, "abort")
    assert not goes_on(desk, 0)


def console(context: Context, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    from pipelines import console as asked
    from pipelines.__main__ import parser

    asked.answer(vars(parser().parse_args(words)), context)
    return capsys.readouterr().out


def test_a_person_sees_and_ends_a_rollout(
    desk: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "no version serves yet" in console(desk, capsys, "rollout", "status")
    champion_first(desk)
    with pytest.raises(InvalidInput, match="no rollout of pumps is under way"):
        console(desk, capsys, "rollout", "abort")
    start(desk)
    stage(desk, "shadow")
    traffic(desk, 1)
    look(desk, "shadow")
    shown = console(desk, capsys, "rollout", "status")
    assert "version 2, stage shadow, 0% of the traffic" in shown and "ADVANCE at 2024-04-02" in shown
    told = json.loads(console(desk, capsys, "rollout", "status", "--json"))
    assert told["plan"]["challenger"] == "2" and told["judged"]["verdict"] == "ADVANCE"
    ended = console(desk, capsys, "rollout", "rollback", "--reason", "too slow for us", "--actor", "ada")
    assert "rollback (too slow for us); version 1 has the traffic" in " ".join(ended.split())
    assert "too slow for us" in console(desk, capsys, "models", "ledger")
    listed = json.loads(console(desk, capsys, "models", "list", "--json"))
    assert [one["rollout.verdict"] for one in listed] == ["promote", "rollback", ""]
    assert "champion" in console(desk, capsys, "models", "list")


def test_a_prediction_is_explained(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    champion_first(desk)
    features = {"features": lambda n, p: {"x": 1.25, "gappy": None}, "ages": lambda n, p: {"x": 7200.0, "gappy": None}}
    traffic(desk, 1, same, 1, **features)
    shown = console(desk, capsys, "explain", START.isoformat())
    assert "1.25" in shown and "2.0 h" in shown and "missing" in shown and "version 1" in shown
    with pytest.raises(MissingData, match="no prediction has the id 'x'"):
        console(desk, capsys, "explain", "x")
