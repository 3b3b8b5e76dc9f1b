"""The demo's story on a reduced window, run once through real servers on free ports for all tests here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from infra.airflow_client import AirflowClient
from infra.deck import REPO, Deck, environment, load_deck
from pipelines.configuration import load
from pipelines.context import Context, build_context
from tests.postgres_fixtures import database
from tests.services import REQUIRED


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reduced(folder: Path) -> Path:
    """The project's params over four months, with short windows and little boosting."""
    params = load(REPO / "params.yaml").in_force()
    params["desk"] = {"start": "2013-01-01", "end": "2013-05-01", "as_of": "2013-04-15"}
    params["desk"] |= {"monitor_start": "2013-04-15", "monitor_end": "2013-05-01"}
    params["splits"] |= {"validation_days": 14, "test_days": 14}
    params["training"]["hist_gradient_boosting"]["max_iter"] = 40
    params["training"]["mlp"]["epochs"] = 2
    # any fall triggers retraining; a wide margin, shown within few days; stages of one day
    params["monitoring"]["retrain_when_failing"] = [{"metric": "roc_auc_drop", "direction": "at_most", "threshold": -1}]
    for stage in params["rollout"]["stages"]:
        stage |= {"min_hours": 24, "min_blocks": 1, "min_requests": 20 if stage["share"] else 0}
    params["rollout"]["judge"] |= {"margin_share": 0.1, "min_blocks": 4, "max_days": 20}
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(params))
    return file


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Records, Airflow's metadata and MLflow's backend, on PostgreSQL where the run promises one, else embedded."""
    if not REQUIRED:
        yield {}
        return
    server = request.getfixturevalue("postgres_server")
    with database(server) as records, database(server) as airflow, database(server) as mlflow:
        theirs = [uri.replace("postgresql:", "postgresql+psycopg:", 1) for uri in (airflow, mlflow)]
        yield {
            "FLIGHTDECK_RECORDS_URI": records,
            "FLIGHTDECK_AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": theirs[0],
            "FLIGHTDECK_AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": theirs[0],
            "FLIGHTDECK_MLFLOW__BACKEND_STORE_URI": theirs[1],
        }


@pytest.fixture(scope="session")
def env(tmp_path_factory: pytest.TempPathFactory, databases: dict[str, str]) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("story")
    mine = {name: value for name, value in os.environ.items() if not name.startswith("FLIGHTDECK_")}
    ports = (
        "FLIGHTDECK_AIRFLOW_PORT",
        "FLIGHTDECK_AIRFLOW_EXECUTION_PORT",
        "FLIGHTDECK_MLFLOW_PORT",
        "FLIGHTDECK_SERVING_PORT",
    )
    places = {"FLIGHTDECK_HOME": str(folder / "home"), "FLIGHTDECK_PARAMS": str(reduced(folder)), "COLUMNS": "160"}
    return {**mine, **places, **databases, **{port: str(free_port()) for port in ports}}


def module(name: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", name, *arguments], cwd=REPO, env=env, capture_output=True, text=True, timeout=2700
    )


@pytest.fixture(scope="session")
def deck(env: dict[str, str]) -> Iterator[Deck]:
    started = module("infra.supervisor", "up", env=env)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield load_deck(env)
    finally:
        stopped = module("infra.supervisor", "down", env=env)
    assert stopped.returncode == 0, stopped.stderr


@pytest.fixture(scope="session")
def airflow(deck: Deck) -> Iterator[AirflowClient]:
    with AirflowClient.of(deck) as client:
        yield client


@pytest.fixture(scope="session")
def story(deck: Deck, env: dict[str, str]) -> str:
    done = module("infra.story", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def context(deck: Deck, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Context:
    """A context with the environment of a task of this deck."""
    for name, value in environment(deck, env).items():
        if name.startswith(("FLIGHTDECK_", "MLFLOW_")):
            monkeypatch.setenv(name, value)
    return build_context()
