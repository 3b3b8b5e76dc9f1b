"""Settings: which variable takes precedence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import InvalidInput
from pipelines.settings import load_settings

SERVER, OTHER = "http://127.0.0.1:5000", "sqlite:////tmp/mlflow.db"


def test_the_mlflow_uri_comes_from_our_variable_else_its_own_else_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_settings(home=tmp_path).mlflow == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", OTHER)
    assert load_settings(home=tmp_path).mlflow == OTHER
    monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", SERVER)
    assert load_settings(home=tmp_path).mlflow == SERVER


def test_an_mlflow_run_is_the_parent_only_on_the_server_that_we_log_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().mlflow_parent is None
    monkeypatch.setenv("MLFLOW_RUN_ID", "r1")
    assert load_settings().mlflow_parent is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", OTHER)
    assert load_settings().mlflow_parent == "r1"
    monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", SERVER)
    assert load_settings().mlflow_parent is None


WHOLE = [
    "postgresql+psycopg2://ann:p%40ss%2Fword@db:5432/x?sslmode=require",
    "postgresql://ann@[::1]:5432/x",
    "sqlite:////path/with@sign:and/colon@x.db",
    "http://ann:secret@host:5000/base@x",
    "redis://:p%3Ass@host:6379/0",
    "mysql://h/x",
]
TORN = [
    "postgresql://u:p@ss:word@h/x",
    "postgresql://u:1234/word@h/x",
    "postgresql://u:1234#word@h/x",
    "postgresql://u:/word@h/x",
    "postgresql://u:word@h:port/x",
    "http://u:word@[::1",
]


@pytest.mark.parametrize("uri", WHOLE)
def test_a_uri_that_all_readers_parse_alike_is_accepted(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", uri)
    assert load_settings().records == uri


@pytest.mark.parametrize("uri", TORN)
@pytest.mark.parametrize("variable", ["FLIGHTDECK_RECORDS_URI", "MLFLOW_TRACKING_URI"])
def test_an_ambiguous_uri_is_refused_without_being_shown(
    uri: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, uri)
    with pytest.raises(InvalidInput, match=f"^{variable} .*%40") as refused:
        load_settings()
    assert "word" not in str(refused.value).replace("password", "")
    if variable == "MLFLOW_TRACKING_URI":
        monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", SERVER)
        assert load_settings().mlflow == SERVER, "the variable is ignored"


def test_uris_that_name_no_server_are_left_to_their_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (
        ("FLIGHTDECK_MLFLOW_URI", "databricks://scope:prefix"),
        ("FLIGHTDECK_STORE_URI", "abfs://container@account.dfs.core.windows.net/x"),
        ("FLIGHTDECK_STORE_URI", "s3://arn:aws:s3:us-east-1:1234:accesspoint/ap/x?keyed=no"),
    ):
        monkeypatch.setenv(variable, value)
        load_settings()
    for value in ("azure://c?sig=abc", "s3://b/x?access_key=abc", "sftp://ann:abc@h/x"):
        monkeypatch.setenv("FLIGHTDECK_DVC_REMOTE", value)
        with pytest.raises(InvalidInput, match=r"FLIGHTDECK_DVC_REMOTE .* password"):
            load_settings()
