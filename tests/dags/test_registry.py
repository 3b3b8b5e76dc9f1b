"""The registry, the command line, dvc.yaml and the DAGs name the same steps with the same inputs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipelines.steps import STEPS
from tests.conftest import ROOT

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def stage_command(stage: dict[str, Any]) -> str:
    return str(stage.get("do", stage)["cmd"])


def test_stages_are_the_steps_of_the_desk() -> None:
    stages = [stage for name, stage in STAGES.items() if name != "code"]  # what the others depend on, and no step
    named = [re.search(r"\$\{flightdeck\} (\w+)", stage_command(stage)) for stage in stages]
    assert sorted(found[1] for found in named if found) == sorted(name for name, step in STEPS.items() if step.desk)
    assert all(named), "a stage runs something other than a step"


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.desk])
def test_a_stage_gives_its_step_the_inputs_that_it_takes(name: str) -> None:
    (command,) = [c for stage in STAGES.values() if f" {name} " in (c := stage_command(stage))]
    flags = {flag.replace("-", "_") for flag in re.findall(r" --([\w-]+)", command)} - {"home", "out", "params"}
    fields = STEPS[name].load().Inputs.model_fields
    assert flags <= set(fields)
    assert {field for field, info in fields.items() if info.is_required()} <= flags


def test_the_dags_run_every_step(load: Callable[..., Any]) -> None:
    tasks = [task for dag in load().dags.values() for task in dag.tasks]
    named = {found[1] for task in tasks if (found := re.match(r"Step `(\w+)`", task.doc_md or ""))}
    assert named == {name for name, step in STEPS.items() if step.dag}


def test_help_lists_every_step_with_its_inputs() -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    listing = done.stdout.split("steps and their inputs:")[1]
    for name, step in STEPS.items():
        (line,) = [line for line in listing.splitlines() if line.strip().startswith(f"{name} ") or line.strip() == name]
        for field in step.load().Inputs.model_fields:
            assert f"--{field.replace('_', '-')}" in line
        assert step.summary.endswith(".") and step.summary in " ".join(done.stdout.split())


def test_step_modules_are_light() -> None:
    """Listing the steps and their inputs imports no data or ML library."""
    from tests.dags.test_dags import HEAVY

    script = "import sys; from pipelines.steps import STEPS; [s.load() for s in STEPS.values()]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & {name.partition(".")[0] for name in done.stdout.split()}
