"""Airflow, and a context over registered versions whose deployment DAG is run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.context import Context
from tests.airflow_fixtures import airflow, load
from tests.rollouts import started_over

__all__ = ["airflow", "load"]
START = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.fixture
def desk(versions_home: Path, tmp_path: Path, records_place: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.0)
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", records_place)
    return started_over(versions_home, tmp_path / "home", START)
