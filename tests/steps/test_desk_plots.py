"""`dvc plots` draws the families of params.yaml: on a clone whose evaluate stage lays down a real evaluation."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.artifacts.evaluation import CURVES, FILES, PICTURES, SCORED
from pipelines.configuration import load
from pipelines.steps import execute
from tests.commands import dvc
from tests.conftest import ROOT
from tests.synthetic import context_over, write_training_set

FAMILY = "logistic_regression"  # a family that the reference desk does not train
FOLDER = f"var/dvc/data/flights/evaluations/desk/{FAMILY}"
STUB = """\
import json, pathlib, shutil, sys

shutil.copytree("made", {folder!r}, dirs_exist_ok=True)
pathlib.Path(sys.argv[sys.argv.index("--out") + 1]).write_text(json.dumps({{"evaluation_uri": {folder!r}}}))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with dvc.yaml, params.yaml with another family, and the files that stage `evaluate` needs."""
    place, home = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("plots")
    context = context_over(home)
    shared = {"training_set_uri": write_training_set(context, "r1", rows=600), "run": "r1"}
    model = execute("train", {**shared, "family": FAMILY}, context)["model_uri"]
    uri = execute("evaluate", {**shared, "model_uri": model}, context)["evaluation_uri"]
    shutil.copytree(uri, place / "made")
    (place / "stub.py").write_text(STUB.format(folder=FOLDER))
    params = (ROOT / "params.yaml").read_text()
    params, changed = re.subn(r"(?m)^(training:\n  families:) .*$", rf"\1 [{FAMILY}]", params)
    assert changed == 1
    (place / "params.yaml").write_text(params)
    stages = (ROOT / "dvc.yaml").read_text()
    (place / "dvc.yaml").write_text(
        stages.replace("flightdeck: python -m pipelines", f"flightdeck: {sys.executable} stub.py")
    )
    (place / ".gitignore").write_text("/made/\n/stub.py\n")
    for args in (["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@t"]):
        subprocess.run(["git", *args], cwd=place, check=True)
    dvc(place, "init", "-q")
    for dependency in stage()["deps"]:
        needed = dependency
        for name, value in (
            ("item", FAMILY),
            ("data", "var/dvc/data/flights"),
            ("out", "var/dvc/outputs"),
            ("code", "var/dvc/code"),
        ):
            needed = needed.replace(f"${{{name}}}", value)
        path = place / needed
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (place / "var/dvc/code/values.json").write_text(json.dumps(load(place / "params.yaml").in_force()))
    dvc(place, "repro", "-q", "--single-item", f"evaluate@{FAMILY}")
    subprocess.run(["git", "add", "-A"], cwd=place, check=True)
    subprocess.run(["git", "commit", "-qm", "one"], cwd=place, check=True)
    return place


def stage() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["evaluate"]["do"])


def test_the_stage_tracks_every_file_that_evaluate_writes() -> None:
    named = [next(iter(plot)) if isinstance(plot, dict) else plot for plot in stage()["plots"]]
    kept = {Path(path).name for path in (*stage()["outs"], *named)}
    assert kept == {*FILES, SCORED}


def test_every_curve_and_picture_of_the_families_in_params_is_drawn(clone: Path) -> None:
    shown = json.loads(dvc(clone, "plots", "show", "--json"))
    assert "errors" not in shown and set(shown["data"]) == {f"{FOLDER}/{name}" for name in (*CURVES, *PICTURES)}
    for path, (plot,) in shown["data"].items():
        assert plot["type"] == ("image" if path.endswith(".png") else "vega"), path
        if plot["type"] == "vega":
            assert FAMILY in plot["content"]["title"]["text"] and plot["content"]["data"]["values"]


def test_two_revisions_share_one_plot(clone: Path) -> None:
    curve = clone / FOLDER / "roc.csv"
    content = curve.read_text()
    curve.unlink()  # the file may be a link into the cache
    curve.write_text("\n".join(content.splitlines()[:5]) + "\n")
    plots = json.loads(dvc(clone, "plots", "diff", "HEAD", "--json", "--targets", f"{FOLDER}/roc.csv"))
    (plot,) = plots["data"][f"{FOLDER}/roc.csv"]
    assert {*plot["revisions"]} == {"HEAD", "workspace"}
    assert {point["rev"] for point in plot["content"]["data"]["values"]} == {"HEAD", "workspace"}
