"""Shared fixtures: contexts over temporary folders, and chains that have already run."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pipelines.context import Context, build_context
from pipelines.steps import execute
from pipelines.windows import midnight
from tests import examples

ROOT = Path(__file__).parent.parent
TOY = ROOT / "tests" / "toy" / "params.yaml"

os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores, and waiting threads cost more

settings.load_profile(examples.QUICK)  # --hypothesis-profile chooses another


def tree_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file under a folder, by relative path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the machine reaches a test, and none that a test makes reaches the next."""
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
    """The data chain, step by step, as the data DAG runs it."""
    window = {"start": start.isoformat(), "end": end.isoformat()}
    as_of = midnight(end, context.usecase.timezone).isoformat()
    outputs: dict[str, dict[str, Any]] = {}
    outputs["ingest"] = execute("ingest", window, context)
    outputs["snapshot"] = execute("snapshot", window, context)
    overdue = outputs["ingest"]
    outputs["validate"] = execute("validate", {**window, "since": overdue["validate_since"]}, context)
    stale = {"start": overdue["build_since"], "end": overdue["build_until"]}
    outputs["build_features"] = execute("build_features", stale, context)
    outputs["check_features"] = execute("check_features", stale, context)
    outputs["apply_features"] = execute("apply_features", {}, context)
    outputs["materialize"] = execute("materialize", {"as_of": as_of}, context)
    outputs["check_parity"] = execute("check_parity", {"as_of": outputs["materialize"]["as_of"]}, context)
    return outputs


def put_back(place: Path, kept: Path) -> Path:
    """A folder as its copy `kept` is, in the same place: the paths that a home holds are absolute."""
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(kept, place))


def run_training(context: Context, as_of: date, run: str, data_version: str, **train: Any) -> dict[str, Any]:
    """The training chain, as the training DAG runs it; outputs by step, lists for mapped ones."""
    instant = midnight(as_of, context.usecase.timezone).isoformat()
    families = train.pop("families", context.params.training.families)
    made = execute("build_training_set", {"as_of": instant, "data_version": data_version, "run": run}, context)
    shared = {"training_set_uri": made["training_set_uri"], "run": run}
    budget = {"trials": 1, "seed": 1, **train}
    trained = [execute("train", {**shared, **budget, "family": family}, context) for family in families]
    evaluated = [execute("evaluate", {**shared, "model_uri": model["model_uri"]}, context) for model in trained]
    uris = [evaluation["evaluation_uri"] for evaluation in evaluated]
    logged = execute("log_candidates", {"evaluation_uris": uris}, context)
    champion = execute("resolve_model", {"alias": "champion"}, context)
    against = {"champion_uri": champion["model_uri"], "champion_sha256": champion["sha256"]}
    gate = {"evaluation_uris": uris, **against, "as_of": instant, "run": run}
    gated = execute("gate", gate, context)
    chosen = {key: gated[key] for key in ("verdict", "decision_id", "model_uri", "evaluation_uri")}
    origin = {"training_set_uri": made["training_set_uri"], "runs": logged["runs"]}
    registered = execute("register", {**chosen, **origin}, context)
    models = {"training_set": made, "train": trained, "evaluate": evaluated, "log_candidates": logged}
    return {**models, "gate": gated, "register": registered}


def run_monitoring(context: Context, start: date, end: date, as_of: date, run: str) -> dict[str, dict[str, Any]]:
    """The monitoring chain, as the monitoring DAG runs it."""
    instant = midnight(as_of, context.usecase.timezone).isoformat()
    window = {"start": start.isoformat(), "end": end.isoformat(), "as_of": instant}
    model = execute("resolve_model", {"alias": "champion"}, context)
    named = {"run": run, "model_version": model["version"], "model_sha256": model["sha256"]}
    scored = execute("score", {**window, **named, "model_uri": model["model_uri"]}, context)
    joined = execute("join_outcomes", {**window, "run": run, "predictions_uri": scored["predictions_uri"]}, context)
    report = {"outcomes_uri": joined["outcomes_uri"], "evaluation_uri": model["evaluation_uri"], "as_of": instant}
    reported = execute("report_drift", {**named, **report}, context)
    decide = {"summary_uri": reported["summary_uri"], "model_version": model["version"]}
    decided = execute("decide_retraining", {**window, **decide}, context)
    return {"score": scored, "join_outcomes": joined, "report_drift": reported, "decide_retraining": decided}


@pytest.fixture(scope="session")
def toy_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the toy's data chain has run over all its days; MLflow has no run in it. Read only."""
    home = tmp_path_factory.mktemp("toy")
    context = build_context(TOY, home)
    run_data(context, context.usecase.start, context.usecase.end)
    assert not context.models.versions()  # MLflow takes seconds to make a database
    return home


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Context]:
    """A context of the toy over a private copy of a home."""

    def copy(home: Path) -> Context:
        shutil.copytree(home, tmp_path / "copy")
        return build_context(TOY, tmp_path / "copy")

    return copy
