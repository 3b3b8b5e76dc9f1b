"""A home with an empty registry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.data_versions import toy_at


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, which takes seconds to create."""
    home = tmp_path_factory.mktemp("registry")
    assert toy_at(home).models.versions() == []
    return home / "mlflow" / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, registry: Path) -> Path:
    (tmp_path / "home" / "mlflow").mkdir(parents=True)
    shutil.copy(registry, tmp_path / "home" / "mlflow")
    return tmp_path / "home"
