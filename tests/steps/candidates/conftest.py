"""Two runs of two candidates each, trained and evaluated; none of them is in MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.context import Context
from tests.homes import copy_home, put_back
from tests.steps.candidates.runs import candidates
from tests.synthetic import context_over


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two runs of two candidates and an empty MLflow database, copied into place by `desk`."""
    home = tmp_path_factory.mktemp("template") / "home"
    context = context_over(home)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FLIGHTDECK_COMMIT", "c0ffee")
        candidates(context, "r1")
        candidates(context, "r2", seed=7, rows=6000)
    assert context.models.versions() == []
    return home


@pytest.fixture
def desk(template: Path, tmp_path: Path, records_place: str) -> Context:
    """The template's home, put back as it was: paths inside it are absolute, so it cannot move."""
    kept = template.with_name("kept")
    if not kept.exists():
        copy_home(template, kept)
    put_back(template, kept)
    # a copy, since MLflow keeps a connection to each it has opened
    database = shutil.copy(template / "mlflow" / "mlflow.db", tmp_path)
    return context_over(template, mlflow_uri=f"sqlite:///{database}", records_uri=records_place)
