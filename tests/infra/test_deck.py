"""A real deck with one small DAG file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.airflow_client import AirflowClient, AirflowError
from infra.deck import REPO, Deck, load_deck
from infra.processes import Session, members
from infra.supervisor import read_state, running
from tests.infra.waiting import eventually

DAG = """
from airflow.sdk import Asset, Metadata, dag, task

NEWS = Asset(name="news", uri="x://trial/news")


@dag(dag_id="trial", schedule=None)
def trial():
    @task(pool="dvc")
    def count(params=None):
        return params["n"]

    @task(outlets=[NEWS])
    def check(n):
        if n > 9:
            raise ValueError(f"{n} is too many")
        yield Metadata(NEWS, {"n": n})

    @task
    def torch_threads():
        import torch

        square = torch.ones(300, 300, requires_grad=True)
        (square @ square).sum().backward()
        return float(square.grad[0, 0])

    check(count()) >> torch_threads()


@dag(dag_id="trial_child", schedule=NEWS)
def child():
    @task
    def got(triggering_asset_events=None):
        return triggering_asset_events[NEWS][0].extra["n"]

    got()


trial()
child()
"""


def free_ports(count: int) -> list[str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def deck_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real deck with one small DAG file, up while this module's tests run."""
    folder = tmp_path_factory.mktemp("deck")
    (folder / "dags").mkdir()
    (folder / "dags" / "trial.py").write_text(DAG)
    airflow, execution, mlflow, serving = free_ports(4)
    env = {
        **os.environ,
        "FLIGHTDECK_HOME": str(folder / "home"),
        "FLIGHTDECK_AIRFLOW_PORT": airflow,
        "FLIGHTDECK_AIRFLOW_EXECUTION_PORT": execution,
        "FLIGHTDECK_MLFLOW_PORT": mlflow,
        "FLIGHTDECK_SERVING_PORT": serving,
        "FLIGHTDECK_AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
    }
    try:
        output = supervisor(env, "up")
        assert output.returncode == 0, output.stdout + output.stderr
        yield env
    finally:
        supervisor(env, "down")


def supervisor(env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "infra.supervisor", *command]
    return subprocess.run(argv, cwd=REPO, env=env, capture_output=True, text=True, timeout=6000)


@pytest.mark.e2e
def test_a_second_up_does_nothing(deck_env: dict[str, str]) -> None:
    before = read_state(load_deck(deck_env))
    output = supervisor(deck_env, "up")
    assert output.returncode == 0
    assert output.stdout.startswith("Flightdeck is already up.")
    assert read_state(load_deck(deck_env))["supervisor"] == before["supervisor"]
    assert supervisor(deck_env, "status").returncode == 0


@pytest.mark.e2e
def test_a_run_points_to_the_run_that_its_asset_event_started(deck_env: dict[str, str]) -> None:
    seen: list[dict[str, str]] = []
    with AirflowClient.of(load_deck(deck_env)) as airflow:
        airflow.wait_for_dags(["trial", "trial_child"])
        airflow.unpause("trial")
        airflow.unpause("trial_child")
        run_id = airflow.trigger("trial", {"n": 4}, run_id="once")
        assert airflow.trigger("trial", {"n": 4}, run_id="once") == run_id
        run = airflow.wait("trial", run_id, on_progress=lambda states: seen.append(dict(states)), timeout=600)
        assert run.ok, airflow.failures(run)
        assert seen[-1] == {"count": "success", "check": "success", "torch_threads": "success"}
        assert airflow.xcom("trial", run_id, "torch_threads") == 600.0
        child = airflow.wait("trial_child", airflow.triggered_by(run, "trial_child").run_id, timeout=600)
        assert child.ok
        assert airflow.xcom("trial_child", child.run_id, "got") == 4
        assert [r.run_id for r in airflow.runs("trial_child", "asset_triggered")] == [child.run_id]


@pytest.mark.e2e
def test_a_failed_task_shows_its_reason(deck_env: dict[str, str]) -> None:
    with AirflowClient.of(load_deck(deck_env)) as airflow:
        airflow.wait_for_dags(["trial"])
        airflow.unpause("trial")
        run = airflow.wait("trial", airflow.trigger("trial", {"n": 10}), timeout=120)
        assert not run.ok
        assert "ValueError: 10 is too many" in airflow.failures(run)["check"]
        with pytest.raises(AirflowError, match="404"):
            airflow.trigger("unknown")


@pytest.mark.e2e
def test_only_admins_may_start_runs(deck_env: dict[str, str]) -> None:
    with AirflowClient.of(load_deck(deck_env), user="viewer") as viewer:
        viewer.wait_for_dags(["trial"])
        with pytest.raises(AirflowError, match="403"):
            viewer.trigger("trial")


@pytest.mark.e2e
def test_no_password_is_in_a_log(deck_env: dict[str, str]) -> None:
    deck = load_deck(deck_env)
    secrets = [*json.loads(deck.passwords_file.read_text()).values(), (deck.home / "secrets/jwt_secret").read_text()]
    logs = "".join(log.read_text(errors="replace") for log in deck.home.rglob("*.log"))
    assert logs
    assert not [secret for secret in secrets if secret in logs]


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net/tcp")
def test_every_listener_is_bound_to_this_machine_only(deck_env: dict[str, str]) -> None:
    deck = load_deck(deck_env)
    sockets = {target for pid in deck_processes(deck) for target in open_sockets(pid)}
    listeners = [
        (kind, fields[1])
        for kind in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{kind}").read_text().splitlines()[1:])
        if fields[3] == "0A" and fields[9] in sockets
    ]
    ports = sorted(int(address.partition(":")[2], 16) for _, address in listeners)
    assert ports == sorted([deck.airflow_port, deck.execution_port, deck.mlflow_port, deck.serving_port])
    assert {address.partition(":")[0] for _, address in listeners} == {"0100007F"}


@pytest.mark.e2e
def test_a_killed_scheduler_comes_back_and_a_killed_supervisor_leaves_nothing(deck_env: dict[str, str]) -> None:
    deck = load_deck(deck_env)
    old = read_state(deck)["parts"]["scheduler"]["session"]["leader"]
    os.kill(old, signal.SIGKILL)
    eventually(lambda: read_state(deck)["parts"]["scheduler"]["restarts"] == 1, 120)
    eventually(lambda: read_state(deck)["status"] == "up", 600)
    state = read_state(deck)
    assert state["parts"]["scheduler"]["session"]["leader"] != old
    os.kill(state["supervisor"], signal.SIGKILL)
    eventually(lambda: not running(deck))
    assert supervisor(deck_env, "status").returncode == 3
    sessions = [Session(**part["session"]) for part in state["parts"].values() if part["session"]]
    assert members(sessions)
    assert supervisor(deck_env, "down").returncode == 0
    assert members(sessions) == []
    assert read_state(deck) == {}


def deck_processes(deck: Deck) -> list[int]:
    parts = read_state(deck)["parts"].values()
    return members([Session(**part["session"]) for part in parts if part["session"]])


def open_sockets(pid: int) -> list[str]:
    """Inodes of the sockets that the process holds."""
    links = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()]
    return [link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")]
