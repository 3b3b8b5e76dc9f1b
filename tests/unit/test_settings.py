"""Settings: which variable counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.settings import load_settings

SERVER, OTHER = "http://127.0.0.1:5000", "sqlite:////tmp/mlflow.db"


def test_mlflow_is_where_our_variable_says_else_its_own_else_embedded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_settings(home=tmp_path).mlflow == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", OTHER)
    assert load_settings(home=tmp_path).mlflow == OTHER
    monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", SERVER)
    assert load_settings(home=tmp_path).mlflow == SERVER


def test_a_run_of_mlflow_is_a_parent_only_where_we_log(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().mlflow_parent is None
    monkeypatch.setenv("MLFLOW_RUN_ID", "r1")
    assert load_settings().mlflow_parent is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", OTHER)
    assert load_settings().mlflow_parent == "r1"
    monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", SERVER)
    assert load_settings().mlflow_parent is None
