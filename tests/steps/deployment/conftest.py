"""A home with three registered versions, records in SQLite or PostgreSQL, and MLflow in SQLite."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.context import Context
from tests.homes import copy_home, put_back
from tests.steps.deployment.rollout import open_context


@pytest.fixture
def desk(versions_home: Path, tmp_path: Path, records_place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """The home with versions and empty records, restored afterwards; without the grace period for aliases."""
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.0)
    copy_home(versions_home, tmp_path / "kept")
    database = shutil.copy(versions_home / "mlflow" / "mlflow.db", tmp_path)
    yield open_context(versions_home, mlflow_uri=f"sqlite:///{database}", records_uri=records_place)
    put_back(versions_home, tmp_path / "kept")
