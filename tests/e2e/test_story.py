"""The demo's story on a reduced window, through real Airflow and MLflow servers on free ports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from infra.airflow_client import AirflowClient, AirflowError
from infra.deck import REPO, Deck, environment, load_deck
from pipelines.context import Context, build_context

pytestmark = pytest.mark.e2e


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reduced(folder: Path) -> Path:
    """The project's params over four months, with short windows and little boosting."""
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    params["desk"] = {"start": "2013-01-01", "end": "2013-05-01", "as_of": "2013-04-15"}
    params["desk"] |= {"monitor_start": "2013-04-15", "monitor_end": "2013-05-01"}
    params["splits"] |= {"validation_days": 14, "test_days": 14}
    params["training"]["hist_gradient_boosting"]["max_iter"] = 40
    params["training"]["mlp"]["epochs"] = 2
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(params))
    return file


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("story")
    mine = {name: value for name, value in os.environ.items() if not name.startswith("FLIGHTDECK_")}
    ports = ("FLIGHTDECK_AIRFLOW_PORT", "FLIGHTDECK_AIRFLOW_EXECUTION_PORT", "FLIGHTDECK_MLFLOW_PORT")
    places = {"FLIGHTDECK_HOME": str(folder / "home"), "FLIGHTDECK_PARAMS": str(reduced(folder)), "COLUMNS": "160"}
    return {**mine, **places, **{port: str(free_port()) for port in ports}}


def module(name: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", name, *arguments], cwd=REPO, env=env, capture_output=True, text=True, timeout=400
    )


@pytest.fixture(scope="module")
def deck(env: dict[str, str]) -> Iterator[Deck]:
    started = module("infra.supervisor", "up", env=env)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield load_deck(env)
    finally:
        stopped = module("infra.supervisor", "down", env=env)
    assert stopped.returncode == 0, stopped.stderr


@pytest.fixture(scope="module")
def airflow(deck: Deck) -> Iterator[AirflowClient]:
    with AirflowClient.of(deck) as client:
        yield client


@pytest.fixture(scope="module")
def told(deck: Deck, env: dict[str, str]) -> str:
    done = module("infra.story", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def context(deck: Deck, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Context:
    """What a task of this deck sees."""
    for name, value in environment(deck, env).items():
        if name.startswith(("FLIGHTDECK_", "MLFLOW_")):
            monkeypatch.setenv(name, value)
    return build_context()


def test_the_story_leaves_a_champion_and_its_lineage(told: str, context: Context) -> None:
    (version,) = context.models.versions()
    assert version.aliases == ("champion",)
    plan = context.records.rollouts("flights").plan()
    assert plan is not None and (plan.champion, plan.challenger) == (version.version, None)
    assert [entry.version for entry in context.records.rollouts("flights").ledger()][-1] == version.version
    decision = context.records.decision(version.tags["decision_id"])
    assert decision is not None and decision["verdict"] == "PASS"
    pointer = Path(context.data.store.root) / "versions" / version.tags["data_version"].removesuffix(".dir") / "raw.dvc"
    assert pointer.exists(), "the data version of the model is kept by DVC"
    candidates = context.tracker.runs("candidate")
    assert {run["tags"]["family"] for run in candidates} == {"hist_gradient_boosting", "mlp"}
    assert all(0.6 < run["metrics"]["roc_auc"] < 0.9 for run in candidates)
    best = min(candidates, key=lambda run: float(run["metrics"]["log_loss"]))
    assert best["run_id"] == version.run_id


def test_the_story_leaves_a_report_and_a_decision_and_tells_them(told: str, context: Context) -> None:
    (report,) = context.tracker.runs("report")
    (decision,) = context.records.decisions("flights", "retrain")
    assert decision["verdict"] in ("KEEP", "RETRAIN") and decision["reasons"]
    shown = " ".join(told.split())
    for fact in (decision["verdict"], decision["id"], f"{report['metrics']['roc_auc']:.4f}"):
        assert fact in shown
    (page,) = Path(context.data.uri("monitoring")).rglob("drift.html")
    assert page.stat().st_size > 100_000


def test_told_again_it_repeats_nothing(told: str, airflow: AirflowClient, env: dict[str, str]) -> None:
    before = {dag: [run.run_id for run in airflow.runs(dag)] for dag in airflow.dags()}
    again = module("infra.story", env=env)
    assert again.returncode == 0, again.stderr
    assert {dag: [run.run_id for run in airflow.runs(dag)] for dag in airflow.dags()} == before
    assert [len(runs) for _, runs in sorted(before.items())] == [2, 1, 1, 0, 1]  # data, deployment, ...


def test_a_form_that_does_not_fit_is_refused(told: str, airflow: AirflowClient) -> None:
    with pytest.raises(AirflowError, match=r"400 .*prophet"):
        airflow.trigger("flights_training", {"as_of": "2013-04-15", "families": ["prophet"]})
    with pytest.raises(AirflowError, match=r"400 .*trials"):
        airflow.trigger("flights_training", {"as_of": "2013-04-15", "trials": 0})
    run_id = airflow.trigger("flights_data", {"stat": "2013-05-01"})
    run = airflow.wait("flights_data", run_id, timeout=120)
    assert run.tasks["plan"] == "failed" and run.tasks["ingest"] == "upstream_failed"
    assert "unknown keys in the run's configuration: ['stat']" in airflow.failures(run)["plan"]


def test_a_form_is_run_as_the_page_posts_it(told: str, airflow: AirflowClient, context: Context) -> None:
    """With a logical date of now, which is long after the source's end. The gate decides what comes of it."""
    conf = {"as_of": "2013-04-10", "families": ["hist_gradient_boosting"], "trials": 2}
    run_id = airflow.trigger("flights_training", conf, logical_date=datetime.now(UTC).isoformat())
    run = airflow.wait("flights_training", run_id, timeout=300)
    assert run.ok, airflow.failures(run)
    assert len(airflow.xcom("flights_training", run_id, "plan")["families"]) == 1
    gated = airflow.xcom("flights_training", run_id, "gate")
    decision = context.records.decision(gated["decision_id"])
    assert decision is not None and decision["verdict"] == gated["verdict"]
    assert (run.tasks["announce_challenger"] == "success") == (gated["verdict"] == "PASS")


def test_a_backfill_does_each_days_work_and_starts_no_training(
    told: str, airflow: AirflowClient, context: Context, env: dict[str, str]
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
        ended = airflow.wait("flights_data", run.run_id, timeout=300)
        assert ended.ok, airflow.failures(ended)
        assert ended.tasks["announce_features"] == "skipped"
    days = [str(day) for day in context.data.days("features", "origin_state")]
    assert days[-3:] == ["2013-05-01", "2013-05-02", "2013-05-03"]
    assert len(airflow.runs("flights_training")) == trainings
