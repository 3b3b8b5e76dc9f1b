"""Two processes under torchrun give the same fit as one, and only the first one writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.configuration import load
from pipelines.context import build_context
from pipelines.steps import execute
from pipelines.training.distributed import follower_context, main
from tests.conftest import ROOT, tree_hashes
from tests.services import thorough
from tests.synthetic import frame, write_training_set

SMALL = {"epochs": 3, "batch_size": 256, "learning_rate": 0.01, "dropout": 0.0, "hidden": [16], "rank": 4}


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """The project's params with a small network without dropout, whose masks would differ between processes."""
    science = load(ROOT / "params.yaml").in_force()
    science["training"]["dcn_v2"].update(SMALL)
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(science))
    return file


@thorough
def test_two_processes_reach_the_same_validation_loss_as_one(tmp_path: Path, params: Path) -> None:
    context = build_context(params, tmp_path / "home")
    uri = write_training_set(context, "s", train=frame(2049, 1))  # the last batch of an epoch is a single row
    inputs = {"family": "dcn_v2", "training_set_uri": uri, "run": "one"}
    one = execute("train", {**inputs, "trials": 1}, context)
    options = ["--family", "dcn_v2", "--training-set-uri", uri, "--run-name", "two", "--params", str(params)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "pipelines.training.distributed", *options),
            *("--home", str(tmp_path / "home"), "--out", str(tmp_path / "out.json")),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "out.json").read_text())
    losses = [model["trials"][0]["validation_log_loss"] for model in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    held = frame(500, 9)
    scores = [load_scorer(context.data.store, ModelRef(model["model_uri"])).score(held) for model in (one, two)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)
    assert not list((tmp_path / "home" / "work").rglob("*.pt"))


def test_only_the_first_process_writes(tmp_path: Path, params: Path) -> None:
    context = build_context(params, tmp_path / "home")
    inputs = {"family": "dcn_v2", "training_set_uri": write_training_set(context, "s"), "run": "r", "trials": 1}
    before = tree_hashes(tmp_path / "home" / "data" / "flights")
    followed = execute("train", inputs, follower_context(context))
    assert tree_hashes(tmp_path / "home" / "data" / "flights") == before
    assert execute("train", inputs, context) == followed


def test_a_family_of_one_process_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--family", "logistic_regression", "--training-set-uri", "s", "--run-name", "r"]) == 2
    assert "fitted by one process" in capsys.readouterr().err
