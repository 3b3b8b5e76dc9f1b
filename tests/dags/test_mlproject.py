"""mlflow/MLproject runs registered steps with inputs that they accept, on outputs of earlier commands."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
import yaml

from pipelines.steps import STEPS
from tests.conftest import ROOT

PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "mlflow" / "MLproject").read_text())
ENTRIES: dict[str, Any] = PROJECT["entry_points"]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())


def parts(name: str) -> list[str]:
    return [part.strip() for part in ENTRIES[name]["command"].split("&&")]


def test_the_project_declares_no_environment_and_shadows_no_library() -> None:
    """A module in a folder named mlflow would shadow the library."""
    assert set(PROJECT) == {"name", "entry_points"}
    assert [path.name for path in (ROOT / "mlflow").rglob("*") if path.is_file()] == ["MLproject"]


@pytest.mark.parametrize("name", ENTRIES)
def test_commands_run_stages_and_steps_with_the_inputs_that_they_take(name: str) -> None:
    first, *others = parts(name)
    assert first == "cd ..", "MLflow starts in the project's folder"
    for part in others:
        if stage := re.fullmatch(r"dvc repro (\w+)", part):
            assert stage[1] in DVC["stages"]
            continue
        step = re.match(r"python -m pipelines (\w+) ", part)
        assert step and step[1] in STEPS, part
        flags = {flag.replace("-", "_") for flag in re.findall(r" --([\w-]+)", part)}
        fields = STEPS[step[1]].load().Inputs.model_fields
        assert flags - {"home", "out"} <= set(fields)
        assert {field for field, info in fields.items() if info.is_required()} | {"home", "out"} <= flags


@pytest.mark.parametrize("name", ENTRIES)
def test_a_command_reads_only_outputs_of_earlier_commands(name: str) -> None:
    ready = {}
    for part in parts(name):
        if stage := re.fullmatch(r"dvc repro (\w+)", part):
            ready[f"{DVC['vars'][0]['out']}/{stage[1]}.json"] = stage[1]
        for file, key in re.findall(r"@([^\s:\"]+\.json):(\w+)", part):
            assert key in STEPS[ready[file]].load().Outputs.model_fields
        if match := re.search(r"pipelines (\w+) .*--out (\S+)", part):
            ready[match[2]] = match[1]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_parameter_is_used_and_has_a_default(name: str) -> None:
    parameters = ENTRIES[name]["parameters"]
    named = {field for _, field, _, _ in string.Formatter().parse(ENTRIES[name]["command"]) if field}
    assert named == set(parameters)
    assert all(isinstance(parameter["default"], str) for parameter in parameters.values())
