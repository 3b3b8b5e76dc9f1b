"""A home with two candidates and no registered version."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.context import Context
from tests.conftest import run_candidates
from tests.homes import copy_home, put_back
from tests.steps.registration.versions import FAMILY
from tests.synthetic import context_over, write_training_set


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("versions") / "home"
    context = context_over(home)
    for run, seed in (("r1", 1), ("r2", 7)):
        training_set_uri = write_training_set(context, run, seed)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("FLIGHTDECK_COMMIT", "c0ffee")
            run_candidates(context, training_set_uri, run, FAMILY, steps=("train", "evaluate"))
    assert context.models.versions() == []
    return home


@pytest.fixture
def desk(template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, records_place: str) -> Iterator[Context]:
    """The template's home, restored afterwards: paths inside it are absolute, so it cannot move."""
    copy_home(template, tmp_path / "kept")
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.0)
    database = shutil.copy(template / "mlflow" / "mlflow.db", tmp_path)
    yield context_over(template, mlflow_uri=f"sqlite:///{database}", records_uri=records_place)
    put_back(template, tmp_path / "kept")
