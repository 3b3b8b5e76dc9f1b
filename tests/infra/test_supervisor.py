"""The supervisor leaves nothing behind, hurts nobody else's process, and says what is wrong in one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.airflow_client import AirflowClient, AirflowError
from infra.deck import REPO, USERS, BadSetting, Deck, environment, load_deck
from infra.parts import Part
from infra.processes import Session, members, session_of, stop
from infra.supervisor import clean, main, read_state, require_free, running
from infra.watch import GIVE_UP, Watch
from pipelines.environment import processors


@pytest.fixture
def deck(tmp_path: Path) -> Deck:
    made = load_deck({"FLIGHTDECK_HOME": str(tmp_path / "home")})
    made.run.mkdir(parents=True)
    made.logs.mkdir()
    return made


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a shell command as the leader of a session of its own; all of it is ended with the test."""
    started: list[Session] = []

    def run(command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sh", "-c", command], start_new_session=True)
        started.append(session_of(process.pid))
        return process

    yield run
    stop(started, grace=0)


def eventually(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
    return value


# ---- settings and environment


def test_a_busy_port_is_named_with_the_variable_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            BadSetting, match=rf"port {port} is in use; set FLIGHTDECK_X_PORT .* Nothing was started"
        ) as said:
            require_free("FLIGHTDECK_X_PORT", port)
        assert said.value.exit_code == 2
    require_free("FLIGHTDECK_X_PORT", port)


@pytest.mark.parametrize("text", ["http", "0", "70000", "-1", "80.5"])
def test_a_port_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadSetting, match=f"FLIGHTDECK_MLFLOW_PORT='{text}'"):
        load_deck({"FLIGHTDECK_MLFLOW_PORT": text})


def test_two_parts_do_not_share_a_port() -> None:
    with pytest.raises(BadSetting, match=r"FLIGHTDECK_AIRFLOW_PORT=5000, .*FLIGHTDECK_MLFLOW_PORT=5000"):
        load_deck({"FLIGHTDECK_AIRFLOW_PORT": "5000"})


def test_the_parts_see_absolute_places_and_this_machine_only(tmp_path: Path) -> None:
    deck = load_deck(
        {"FLIGHTDECK_HOME": str(tmp_path), "FLIGHTDECK_PARAMS": os.pathsep.join(["params.yaml", "/x/b.yaml"])}
    )
    env = environment(deck, {})
    assert env["FLIGHTDECK_PARAMS"].split(os.pathsep) == [str(REPO / "params.yaml"), "/x/b.yaml"]
    assert env["FLIGHTDECK_MLFLOW_URI"] == env["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8081/execution/"
    assert env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{tmp_path}/airflow/airflow.db"
    assert Path(env["PYTHONPATH"], "airflow_local_settings.py").exists()
    assert "0.0.0.0" not in env.values()


def test_another_airflow_of_the_user_does_not_leak_in_and_ours_can_be_changed(tmp_path: Path) -> None:
    caller = {
        "FLIGHTDECK_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://somebody/else",
        "AIRFLOW_CONFIG": "/somebody/else.cfg",
        "PYTHONDONTWRITEBYTECODE": "1",
        "FLIGHTDECK_AIRFLOW__CORE__PARALLELISM": "9",
    }
    env = environment(load_deck(caller), caller)
    assert "somebody" not in " ".join(env.values())
    assert "PYTHONDONTWRITEBYTECODE" not in env
    assert env["AIRFLOW__CORE__PARALLELISM"] == "9"


def test_the_parts_get_none_of_the_callers_variables_for_other_servers(tmp_path: Path) -> None:
    caller = {
        "FLIGHTDECK_HOME": str(tmp_path),
        **{"MLFLOW_REGISTRY_STORE_URI": "sqlite:///elsewhere.db", "MLFLOW_STATIC_PREFIX": "/elsewhere"},
        **{
            "WEB_CONCURRENCY": "2",
            "UVICORN_WORKERS": "2",
            "GIT_DIR": "/elsewhere",
            "DVC_GLOBAL_CONFIG_DIR": "/elsewhere",
        },
        **{"MLFLOW_TRACKING_TOKEN": "elsewhere", "HTTP_PROXY": "http://proxy.example", "no_proxy": "intranet.example"},
        "FLIGHTDECK_MLFLOW__SERVER_ALLOWED_HOSTS": "deck.example",
    }
    env = environment(load_deck(caller), caller)
    assert "elsewhere" not in " ".join(env.values()) and not {"WEB_CONCURRENCY", "UVICORN_WORKERS"} & env.keys()
    assert env["MLFLOW_SERVER_ALLOWED_HOSTS"] == "deck.example"
    assert env["HTTP_PROXY"] == "http://proxy.example"
    assert env["no_proxy"] == env["NO_PROXY"] == "intranet.example,127.0.0.1,localhost,::1"
    theirs = {**caller, "FLIGHTDECK_MLFLOW_URI": "http://ann:word@mlflow.example"}
    deck = load_deck(theirs)
    assert deck.mlflow_url == "http://mlflow.example"
    assert environment(deck, theirs)["MLFLOW_TRACKING_PASSWORD"] == "word"
    assert environment(deck, theirs)["MLFLOW_TRACKING_TOKEN"] == "elsewhere"


def test_tasks_wait_passively_and_take_as_many_threads_as_they_may(deck: Deck) -> None:
    env = environment(deck, {})
    assert (env["OMP_WAIT_POLICY"], env["OMP_NUM_THREADS"]) == ("passive", str(processors()))


def test_a_command_of_the_supervisor_that_fails_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXAMPLE_TOKEN", "notforlogs")
    (tmp_path / "file").write_text("no folder")
    for variables, words, status in (
        ({"FLIGHTDECK_HOME": str(tmp_path / "file" / "notforlogs")}, "FLIGHTDECK_HOME=", 1),
        ({"FLIGHTDECK_HOME": str(tmp_path / "$HOME")}, "variable's value", 2),
        ({"FLIGHTDECK_HOME": str(tmp_path), "FLIGHTDECK_PARAMS": "nowhere.yaml"}, "nowhere.yaml does not exist", 2),
        (
            {"FLIGHTDECK_HOME": str(tmp_path), "FLIGHTDECK_RECORDS_URI": "notforlogs", "FLIGHTDECK_MLFLOW_PORT": "x"},
            "MLFLOW_PORT",
            2,
        ),
    ):
        with monkeypatch.context() as caller:
            for name, value in variables.items():
                caller.setenv(name, value)
            assert main(["up"]) == status
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("flightdeck: ") and words in line and "notforlogs" not in line


def test_secrets_are_made_once_and_for_their_owner_only(deck: Deck) -> None:
    first, second = environment(deck, {}), environment(deck, {})
    assert first == second
    assert len(first["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    assert set(json.loads(deck.passwords_file.read_text())) == set(USERS)
    files = list((deck.home / "secrets").iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert (
        environment(replace(deck, home=deck.home / "other"), {})["AIRFLOW__CORE__FERNET_KEY"]
        != first["AIRFLOW__CORE__FERNET_KEY"]
    )


def test_a_tracking_server_elsewhere_is_used_as_it_is() -> None:
    assert (
        load_deck({"FLIGHTDECK_MLFLOW_URI": "http://mlflow.example:80/"}).mlflow_elsewhere == "http://mlflow.example:80"
    )
    assert load_deck({"FLIGHTDECK_MLFLOW_URI": "http://localhost:5000"}).mlflow_elsewhere == ""


# ---- processes


def test_stop_ends_workers_in_groups_of_their_own_and_those_that_ignore_term(start: Any) -> None:
    leader = start(f"trap '' TERM; {sys.executable} -c 'import os, time; os.setpgid(0, 0); time.sleep(600)' & wait")
    session = session_of(leader.pid)
    eventually(lambda: len(members([session])) == 2)
    assert stop([session], grace=0.3, reap=leader.poll) == []
    assert members([session]) == []


def test_stop_finds_what_a_dead_leader_left_behind(start: Any) -> None:
    leader = start("sleep 600 & sleep 600 & wait")
    session = session_of(leader.pid)
    eventually(lambda: len(members([session])) == 3)
    leader.kill()
    leader.wait()
    assert len(members([session])) == 2
    assert stop([session], grace=1) == []


@pytest.mark.parametrize("other", [{"started": "another start"}, {"boot": "another boot"}])
def test_a_pid_that_now_belongs_to_somebody_else_is_left_alone(start: Any, other: dict[str, str]) -> None:
    process = start("exec sleep 600")
    stop([replace(session_of(process.pid), **other)], grace=0)
    assert process.poll() is None


# ---- the watch, on parts of one line each


def shell(name: str, command: str, healthy: bool = True, **more: Any) -> Part:
    return Part(name, name, ("sh", "-c", command), lambda _: healthy, **more)


def test_parts_start_in_order_and_end_together(deck: Deck) -> None:
    watch = Watch(deck, [shell("first", "true", once=True), shell("second", "exec sleep 600", needs=("first",))])
    watch.tick({})
    assert [life.state for life in watch.lives.values()] == ["starting", "waiting"]
    eventually(lambda: watch.tick({}) or watch.status == "up")
    sessions = [life.session for life in watch.lives.values() if life.session]
    assert len(members(sessions)) == 1
    watch.end()
    assert members(sessions) == []
    assert read_state(deck) == {}


def test_a_part_that_dies_is_started_again_and_then_given_up(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.watch.PAUSE", 0.01)
    watch = Watch(deck, [shell("weak", "exit 7", healthy=False), shell("strong", "exec sleep 600")])
    eventually(lambda: watch.tick({}) or watch.status == "failed")
    assert watch.lives["weak"].restarts == GIVE_UP - 1
    assert watch.reason == f"weak ended with status 7 {GIVE_UP} times in a row; see {deck.logs / 'weak.log'}"
    watch.end()
    assert read_state(deck)["reason"] == watch.reason


def test_a_failed_migration_fails_the_start_at_once(deck: Deck) -> None:
    watch = Watch(deck, [shell("database", "exit 1", once=True), shell("api", "exec sleep 600", needs=("database",))])
    eventually(lambda: watch.tick({}) or watch.status == "failed")
    assert watch.lives["api"].state == "waiting"
    watch.end()


def test_a_supervisor_is_running_as_long_as_it_holds_its_lock(deck: Deck) -> None:
    assert not running(deck)
    code = "import infra.watch, infra.deck; infra.watch.Watch(infra.deck.load_deck(), []).run()"
    env = {**os.environ, "FLIGHTDECK_HOME": str(deck.home), "PYTHONPATH": str(REPO)}
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    try:
        eventually(lambda: running(deck) and read_state(deck))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
    assert not running(deck)


# ---- clean


def test_clean_removes_only_what_up_made(deck: Deck, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadSetting, match="existed before Flightdeck"):
        clean(deck)
    assert deck.home.exists()
    (deck.home / ".flightdeck").touch()
    assert clean(deck) == 0
    assert not deck.home.exists()


def test_clean_never_removes_the_repository() -> None:
    with pytest.raises(BadSetting):
        clean(load_deck({"FLIGHTDECK_HOME": str(REPO)}))


# ---- the real thing


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
        said = supervisor(env, "up")
        assert said.returncode == 0, said.stdout + said.stderr
        yield env
    finally:
        supervisor(env, "down")


def supervisor(env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "infra.supervisor", *command]
    return subprocess.run(argv, cwd=REPO, env=env, capture_output=True, text=True, timeout=6000)


@pytest.mark.e2e
def test_a_second_up_does_nothing(deck_env: dict[str, str]) -> None:
    before = read_state(load_deck(deck_env))
    said = supervisor(deck_env, "up")
    assert said.returncode == 0
    assert said.stdout.startswith("Flightdeck is already up.")
    assert read_state(load_deck(deck_env))["supervisor"] == before["supervisor"]
    assert supervisor(deck_env, "status").returncode == 0


@pytest.mark.e2e
def test_a_run_leads_to_the_run_that_its_asset_event_started(deck_env: dict[str, str]) -> None:
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
def test_every_listener_is_on_this_machine_only(deck_env: dict[str, str]) -> None:
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
