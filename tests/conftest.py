"""Shared fixtures: contexts over temporary folders, and homes in which chains have already run."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pipelines import chains
from pipelines.context import Context, build_context
from pipelines.instants import midnight
from pipelines.steps import execute
from pipelines.walk import walk
from tests import examples
from tests.homes import copy_home
from tests.postgres_fixtures import postgres_server, postgres_uri, records_place, records_uri  # noqa: F401
from tests.shortcuts import _shortcuts  # noqa: F401

ROOT = Path(__file__).parent.parent
TOY = ROOT / "tests" / "toy" / "params.yaml"

os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores, where waiting threads cost more
# collections over a million objects of imported libraries cost a twelfth of the time
gc.set_threshold(200_000, 20, 50)

settings.load_profile(examples.QUICK)  # --hypothesis-profile chooses another


def tree_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file under a folder, by relative path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.hookimpl(tryfirst=True)  # before marks select
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest family of models is left to `make thorough`."""
    for item in items:
        if isinstance(item, pytest.Function) and "ft_transformer" in item.name:
            item.add_marker(pytest.mark.thorough)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the machine reaches a test, and no setting of a test reaches the next."""
    before = dict(os.environ)
    mlflows = {"MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"}
    for name in [name for name in os.environ if name.startswith("FLIGHTDECK_") or name in mlflows]:
        monkeypatch.delenv(name)
    yield
    monkeypatch.undo()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def toy(tmp_path: Path) -> Context:
    """The toy use case over an empty home."""
    return build_context(TOY, tmp_path / "home")


@pytest.fixture
def flights(tmp_path: Path) -> Context:
    """The flights over an empty home."""
    return build_context(ROOT / "params.yaml", tmp_path / "home")


def run_data(context: Context, start: date, end: date) -> dict[str, dict[str, Any]]:
    """The data chain; outputs by step."""
    window = {"start": start.isoformat(), "end": end.isoformat()}
    as_of = midnight(end, context.usecase.timezone).isoformat()
    return walk(chains.data, {**window, "as_of": as_of, "run": None}, partial(execute, context=context))


def run_training(context: Context, as_of: date, run: str, data_version: str, **choices: Any) -> dict[str, Any]:
    """The training chain on an existing data version; outputs by step, lists for mapped ones."""
    budget = {"families": context.params.training.families, "feature_service": None, "trials": 1, "seed": 1}
    given = {"as_of": midnight(as_of, context.usecase.timezone).isoformat(), "run": run, **budget, **choices}
    known = {"snapshot": {"data_version": data_version}}
    return walk(chains.training, given, partial(execute, context=context), previous=known)


CANDIDATES = ("train", "evaluate", "log_candidates")


def run_candidates(
    context: Context, training_set_uri: str, run: str, *families: str, steps: Sequence[str] = CANDIDATES
) -> dict[str, Any]:
    """The training chain from an existing training set to candidates in MLflow; outputs by step."""
    given = {"run": run, "families": families, "trials": None, "seed": None}
    known = {"build_training_set": {"training_set_uri": training_set_uri}}
    return walk(chains.training, given, partial(execute, context=context), only=steps, previous=known)


def run_monitoring(context: Context, start: date, end: date, as_of: date, run: str) -> dict[str, dict[str, Any]]:
    """The monitoring chain of the champion; outputs by step."""
    instant = midnight(as_of, context.usecase.timezone).isoformat()
    given = {"start": start.isoformat(), "end": end.isoformat(), "as_of": instant, "run": run}
    choices = {"model_version": None, "track": False}
    return walk(chains.monitoring, {**given, **choices}, partial(execute, context=context))


@pytest.fixture(scope="session")
def toy_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the toy's data chain has run over all its days; MLflow has no run in it. Read only."""
    home = tmp_path_factory.mktemp("toy")
    context = build_context(TOY, home)
    run_data(context, context.usecase.start, context.usecase.end)
    assert not context.models.versions()  # MLflow takes seconds to make a database
    return home


@pytest.fixture(scope="session")
def versions_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three versions and no alias. Read only, or put back: paths inside it are absolute."""
    from tests.rollouts import home_with_versions

    return home_with_versions(tmp_path_factory.mktemp("versions") / "home")


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Context]:
    """A context of the toy over a private copy of a home."""

    def copy(home: Path) -> Context:
        copy_home(home, tmp_path / "copy")
        return build_context(TOY, tmp_path / "copy")

    return copy
