"""Airflow on a temporary SQLite database. Its settings must stand before the first import of airflow."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TOY

HOME = Path(tempfile.mkdtemp(prefix="flightdeck-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/airflow.db",
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__API_AUTH__JWT_SECRET="a key of the length that SHA-512 asks for" * 2,
)
sys.path[:0] = [str(ROOT / "dags"), str(ROOT / "plugins")]


@pytest.fixture(scope="session")
def airflow() -> None:
    """An initialised database with the pool that the DAGs name."""
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb

    initdb()
    Pool.create_or_update_pool("dvc", 1, "one at a time", include_deferred=False)


@pytest.fixture
def load(airflow: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Parses the DAG folder for these params files, with a home; gives the bag."""

    def parse(*params: Path, home: Path | None = None) -> Any:
        from airflow.dag_processing.dagbag import DagBag

        monkeypatch.setenv("FLIGHTDECK_PARAMS", os.pathsep.join(map(str, params or (TOY,))))
        monkeypatch.setenv("FLIGHTDECK_HOME", str(home or tmp_path / "home"))
        bag = DagBag(str(ROOT / "dags"))
        assert not bag.import_errors
        return bag

    return parse
