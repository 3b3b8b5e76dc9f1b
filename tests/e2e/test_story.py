"""What the demo's story leaves behind, and the other ways into the same servers."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.airflow_client import AirflowClient, AirflowError
from pipelines.context import Context
from pipelines.params.training import FAMILIES
from pipelines.records import DecisionKind
from pipelines.usecase import EXAMPLE_ID
from tests.e2e.conftest import module
from tests.predictions import read_log

pytestmark = pytest.mark.e2e


def test_the_story_leaves_two_versions_and_their_lineage(story: str, context: Context) -> None:
    first, second = sorted(context.models.versions(), key=lambda version: int(version.version))
    assert (first.tags["family"], second.tags["parent_version"]) == (FAMILIES[0], first.version)
    candidates = context.tracker.runs("candidate")
    assert {run["tags"]["family"] for run in candidates} == {FAMILIES[0], "hist_gradient_boosting", "mlp"}
    assert all(0.6 < run["metrics"]["roc_auc"] < 0.9 for run in candidates)
    others = [run for run in candidates if run["tags"]["family"] != FAMILIES[0]]
    assert min(others, key=lambda run: float(run["metrics"]["log_loss"]))["run_id"] == second.run_id
    for version in (first, second):
        decision = context.decisions.get(version.tags["decision_id"])
        assert decision is not None and decision["verdict"] == "PASS"
        kept = version.tags["data_version"].removesuffix(".dir")
        pointer = Path(context.data.store.root) / "versions" / kept / "raw.dvc"
        assert pointer.exists(), "the data version of the model is kept by DVC"


def test_the_story_leaves_a_finished_rollout(story: str, context: Context) -> None:
    """The better of two families challenges the simplest one; a margin of a tenth is soon shown to hold."""
    direct, rollout = context.rollouts.all()
    assert direct.direct and (rollout.champion, rollout.version) == (direct.version, "2")
    assert rollout.ending is not None and (rollout.ending.action, rollout.ending.actor) == ("promote", "deployment")
    plan = context.plans.current()
    assert plan is not None and (plan.champion, plan.challenger) == ("2", None)
    assert context.models.aliases() == {"champion": "2", "previous": "1"}
    stages = [one.stage for one in context.plans.of(rollout.name) if one.stage]
    assert stages == ["shadow", "5", "25", "50", "100"]
    assert rollout.ending.decision_id is not None
    decision = context.decisions.get(rollout.ending.decision_id)
    assert decision is not None and decision["verdict"] == "PROMOTE"
    judgement = decision["evidence"]["judgement"]
    assert judgement["blocks"] >= 4 and judgement["log_e"]["not_inferior"] >= math.log(20)
    shown = " ".join(story.split())
    for fact in (decision["id"], "promote v2", "now live version 2", decision["reasons"][1].split(" over ")[0]):
        assert fact in shown


def test_live_scores_equal_scores_of_point_in_time_features(
    story: str, airflow: AirflowClient, context: Context
) -> None:
    """The first model's live predictions of the watched window, against the monitoring DAG's of the same flights."""
    (run,) = airflow.runs("flights_monitoring")
    log = read_log(context.predictions)
    live = {row.prediction_id: row.score for row in log if row.plan == 1}
    uri = airflow.xcom(run.dag_id, run.run_id, "join_outcomes")["outcomes_uri"]
    offline = context.data.store.read_table(uri).to_pandas()
    assert len(offline) > 10_000 and set(offline[EXAMPLE_ID]) <= set(live)
    apart = (offline["score"] - offline[EXAMPLE_ID].map(live).astype(float)).abs()
    assert apart.max() < 1e-5


def test_the_story_leaves_and_prints_a_report_and_a_decision(story: str, context: Context) -> None:
    (report,) = context.tracker.runs("report")
    (decision,) = context.decisions.all(DecisionKind.RETRAIN)
    assert decision["verdict"] == "RETRAIN" and decision["reasons"]
    shown = " ".join(story.split())
    for fact in (decision["verdict"], decision["id"], f"{report['metrics']['roc_auc']:.4f}"):
        assert fact in shown
    (page,) = Path(context.data.uri("monitoring")).rglob("drift.html")
    assert page.stat().st_size > 100_000


def test_a_second_run_of_the_story_repeats_nothing(story: str, airflow: AirflowClient, env: dict[str, str]) -> None:
    before = {dag: [run.run_id for run in airflow.runs(dag)] for dag in airflow.dags()}
    again = module("infra.story", env=env)
    assert again.returncode == 0, again.stderr
    assert {dag: [run.run_id for run in airflow.runs(dag)] for dag in airflow.dags()} == before
    assert [len(runs) for _, runs in sorted(before.items())] == [2, 2, 1, 0, 2]  # data, deployment, ...


def test_an_invalid_form_is_refused(story: str, airflow: AirflowClient) -> None:
    with pytest.raises(AirflowError, match=r"400 .*prophet"):
        airflow.trigger("flights_training", {"as_of": "2013-04-15", "families": ["prophet"]})
    with pytest.raises(AirflowError, match=r"400 .*trials"):
        airflow.trigger("flights_training", {"as_of": "2013-04-15", "trials": 0})
    run_id = airflow.trigger("flights_data", {"stat": "2013-05-01"})
    run = airflow.wait("flights_data", run_id, timeout=600)
    assert run.tasks["plan"] == "failed" and run.tasks["ingest"] == "upstream_failed"
    assert "unknown keys in the run's configuration: ['stat']" in airflow.failures(run)["plan"]


def test_a_form_runs_as_the_page_posts_it(story: str, airflow: AirflowClient, context: Context) -> None:
    """With the current time as logical date, long after the source's end. The gate decides the outcome."""
    conf = {"as_of": "2013-04-10", "families": ["hist_gradient_boosting"], "trials": 2}
    run_id = airflow.trigger("flights_training", conf, logical_date=datetime.now(UTC).isoformat())
    run = airflow.wait("flights_training", run_id, timeout=900)
    assert run.ok, airflow.failures(run)
    assert len(airflow.xcom("flights_training", run_id, "plan")["families"]) == 1
    gated = airflow.xcom("flights_training", run_id, "gate")
    decision = context.decisions.get(gated["decision_id"])
    assert decision is not None and decision["verdict"] == gated["verdict"]
    assert (run.tasks["announce_challenger"] == "success") == (gated["verdict"] == "PASS")


def test_a_backfill_does_each_days_work_and_starts_no_training(
    story: str, airflow: AirflowClient, context: Context, env: dict[str, str]
) -> None:
    trainings = len(airflow.runs("flights_training"))
    created = module(
        "infra.supervisor",
        *("exec", "airflow", "backfill", "create", "--dag-id", "flights_data"),
        *("--from-date", "2013-05-01", "--to-date", "2013-05-04"),
        env=env,
    )
    assert created.returncode == 0, created.stderr[-2000:]
    runs = airflow.runs("flights_data", run_type="backfill")
    assert len(runs) == 3
    for run in runs:
        ended = airflow.wait("flights_data", run.run_id, timeout=900)
        assert ended.ok, airflow.failures(ended)
        assert ended.tasks["announce_features"] == "skipped"
    days = [str(day) for day in context.data.periods("features", "origin_state")]
    assert days[-3:] == ["2013-05-01", "2013-05-02", "2013-05-03"]
    assert len(airflow.runs("flights_training")) == trainings
