"""A home with three versions, SQLite or PostgreSQL records and SQLite MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.context import Context
from tests.rollouts import home_with_versions
from tests.steps.deployment.rollout import open_context


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home_with_versions(tmp_path_factory.mktemp("deployment") / "home")


@pytest.fixture
def desk(template: Path, tmp_path: Path, records_place: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The template's home, put back as it was, with empty records; nothing else sets an alias meanwhile."""
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.0)
    kept = template.with_name("kept")
    if not kept.exists():
        shutil.copytree(template, kept)
    shutil.rmtree(template)
    shutil.copytree(kept, template)
    database = shutil.copy(template / "mlflow" / "mlflow.db", tmp_path)
    return open_context(template, mlflow_uri=f"sqlite:///{database}", records_uri=records_place)
