"""The deck's settings, and what its parts see of the environment."""

from __future__ import annotations

import json
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from infra.deck import REPO, USERS, BadSetting, Deck, environment, load_deck
from infra.parts import require_free
from pipelines.environment import processors


def test_a_busy_port_is_named_with_the_variable_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            BadSetting, match=rf"port {port} is in use; set FLIGHTDECK_X_PORT .* Nothing was started"
        ) as error:
            require_free("FLIGHTDECK_X_PORT", port)
        assert error.value.exit_code == 2
    require_free("FLIGHTDECK_X_PORT", port)


@pytest.mark.parametrize("text", ["http", "0", "70000", "-1", "80.5"])
def test_an_invalid_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadSetting, match=f"FLIGHTDECK_MLFLOW_PORT='{text}'"):
        load_deck({"FLIGHTDECK_MLFLOW_PORT": text})


def test_two_parts_do_not_share_a_port() -> None:
    with pytest.raises(BadSetting, match=r"FLIGHTDECK_AIRFLOW_PORT=5000, .*FLIGHTDECK_MLFLOW_PORT=5000"):
        load_deck({"FLIGHTDECK_AIRFLOW_PORT": "5000"})


def test_parts_get_absolute_paths_and_loopback_addresses_only(tmp_path: Path) -> None:
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


def test_settings_of_another_airflow_do_not_leak_in_and_ours_can_be_overridden(tmp_path: Path) -> None:
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


def test_parts_get_no_variables_that_the_caller_set_for_other_servers(tmp_path: Path) -> None:
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


def test_secrets_are_generated_once_and_readable_by_their_owner_only(deck: Deck) -> None:
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


def test_an_external_tracking_server_is_used_unchanged() -> None:
    assert (
        load_deck({"FLIGHTDECK_MLFLOW_URI": "http://mlflow.example:80/"}).mlflow_elsewhere == "http://mlflow.example:80"
    )
    assert load_deck({"FLIGHTDECK_MLFLOW_URI": "http://localhost:5000"}).mlflow_elsewhere == ""
