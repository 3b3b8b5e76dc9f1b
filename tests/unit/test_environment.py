"""Which variables of the caller's environment reach the libraries."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.environment import (
    DEFAULTS,
    FAMILIES,
    SINGLE,
    build_environment,
    foreign,
    overridden,
    processors,
    restoring,
    take_over,
)

STRANGERS = {
    "MLFLOW_REGISTRY_STORE_URI": "sqlite:///elsewhere.db",
    "MLFLOW_ACTIVE_MODEL_ID": "m-1",
    "MLFLOW_STATIC_PREFIX": "/prefix",
    "_MLFLOW_SERVER_FILE_STORE": "elsewhere",
    "FEAST_METADATA": "x",
    "GX_CLOUD_ACCESS_TOKEN": "x",
    "DVC_GLOBAL_CONFIG_DIR": "/x",
    "DVC_STUDIO_URL": "x",
    "UVICORN_WORKERS": "4",
    "WEB_CONCURRENCY": "2",
    "FORWARDED_ALLOW_IPS": "*",
    "GIT_DIR": "/elsewhere/.git",
    "GIT_WORK_TREE": "/elsewhere",
    "GIT_INDEX_FILE": "/elsewhere/index",
}
ACCESS = {
    "MLFLOW_TRACKING_USERNAME": "ann",
    "MLFLOW_TRACKING_PASSWORD": "secret",
    "MLFLOW_S3_ENDPOINT_URL": "http://s3",
}
NAMES = st.one_of(
    st.sampled_from([*STRANGERS, *ACCESS, *DEFAULTS, "PATH", "HOME", "NO_PROXY", "no_proxy", "OMP_NUM_THREADS"]),
    st.builds("{}{}".format, st.sampled_from(FAMILIES), st.from_regex(r"[A-Z]{1,6}", fullmatch=True)),
    st.builds("FLIGHTDECK_MLFLOW__{}".format, st.from_regex(r"[A-Z]{1,6}", fullmatch=True)),
)
URIS = st.sampled_from(["http://ann:pass%40word@host:5000/mlflow", "http://host", "sqlite:///x.db", "http://[::1", ""])
VALUES = st.one_of(URIS, st.text(st.characters(codec="ascii", exclude_characters="\x00"), max_size=8))
ENVIRONMENTS = st.dictionaries(NAMES | st.sampled_from(["FLIGHTDECK_MLFLOW_URI", "MLFLOW_TRACKING_URI"]), VALUES)


def test_unlisted_variables_of_libraries_are_dropped_and_others_kept() -> None:
    ours = build_environment({**STRANGERS, **ACCESS, "PATH": "/bin", "EXAMPLE_TOKEN": "x"})
    assert foreign({**STRANGERS, **ACCESS}) == sorted(STRANGERS)
    assert not STRANGERS.keys() & ours.keys()
    assert {**ACCESS, "PATH": "/bin", "EXAMPLE_TOKEN": "x"}.items() <= ours.items()


@given(ENVIRONMENTS)
def test_rebuilding_an_environment_changes_nothing_and_adds_no_foreign_variable(environ: dict[str, str]) -> None:
    ours = build_environment(environ)
    assert build_environment(ours) == ours
    assert foreign(ours) == []
    assert {"127.0.0.1", "localhost", "::1"} <= set(ours["no_proxy"].split(","))
    for variable in ("FLIGHTDECK_MLFLOW_URI", "MLFLOW_TRACKING_URI"):
        assert "pass" not in ours.get(variable, "")


def test_prefixed_variables_reach_our_mlflow() -> None:
    variables = {
        "FLIGHTDECK_MLFLOW__SERVER_ALLOWED_HOSTS": "deck.example",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "other.example",
    }
    assert overridden(variables) == {"MLFLOW_SERVER_ALLOWED_HOSTS": "deck.example"}
    assert build_environment({**variables, **overridden(variables)})["MLFLOW_SERVER_ALLOWED_HOSTS"] == "deck.example"


def test_user_and_password_are_passed_with_the_address_of_their_server_only() -> None:
    both = {"FLIGHTDECK_MLFLOW_URI": "https://deck.example", "MLFLOW_TRACKING_URI": "http://ann:word@other.example"}
    assert build_environment(both)["MLFLOW_TRACKING_URI"] == "http://other.example"
    assert "MLFLOW_TRACKING_PASSWORD" not in build_environment(both)
    ours = build_environment({"FLIGHTDECK_MLFLOW_URI": "http://ann:w%3Ard@deck.example:5000/x"})
    assert ours["FLIGHTDECK_MLFLOW_URI"] == "http://deck.example:5000/x"
    assert (ours["MLFLOW_TRACKING_USERNAME"], ours["MLFLOW_TRACKING_PASSWORD"]) == ("ann", "w:rd")


def test_ignored_variables_are_warned_of_once_a_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in {**STRANGERS, "MLFLOW_EXPERIMENT_ID": "3", "DVC_STAGE": "train"}.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING):
        take_over()
        take_over()
    (message,) = [record.getMessage() for record in caplog.records]
    assert all(name in message for name in STRANGERS if not name.startswith("_"))
    assert "MLFLOW_EXPERIMENT_ID" not in message and "DVC_STAGE" not in message
    assert "elsewhere" not in message
    assert not {*STRANGERS, "MLFLOW_EXPERIMENT_ID", "DVC_STAGE"} & os.environ.keys()


def test_variables_are_restored_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "1")
    monkeypatch.delenv("TWO", raising=False)
    with pytest.raises(ValueError, match="stop"), restoring("ONE", TWO="2"):
        assert os.environ["TWO"] == "2"
        os.environ["ONE"] = "changed"
        raise ValueError("stop")
    assert os.environ["ONE"] == "1" and "TWO" not in os.environ


def test_threads_wait_passively_and_match_the_available_cores_by_default() -> None:
    assert build_environment({})["OMP_WAIT_POLICY"] == "passive" and build_environment({})["OMP_NUM_THREADS"] == str(
        processors()
    )
    variables = {"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": "7"}
    assert variables.items() <= build_environment(variables).items()


def test_openmp_respects_the_settings_of_a_context() -> None:
    code = (
        "import os; os.environ.pop('OMP_NUM_THREADS', None); from pipelines.environment import take_over; take_over()\n"
        "from sklearn.ensemble import HistGradientBoostingClassifier\n"
        "from threadpoolctl import threadpool_info\n"
        "used = {pool['num_threads'] for pool in threadpool_info() if pool['user_api'] == 'openmp'}\n"
        "print(used == {int(os.environ['OMP_NUM_THREADS'])})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_single_server_variables_are_dropped(name: str) -> None:
    assert name not in build_environment({name: "2"})
