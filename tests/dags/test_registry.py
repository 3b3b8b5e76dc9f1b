"""The registry, the command line, the chains, dvc.yaml and the DAGs agree on steps, inputs and their sources."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipelines import chains
from pipelines.chains import Chain
from pipelines.steps import STEPS
from tests.conftest import ROOT
from tests.wiring import CHAINS, Argument, Output, links

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
HANDED = re.compile(r"--([\w-]+) '?@\$\{out\}/([a-z_]+)(?:-[^ ]*)?\.json:(\w+)'?")
DESK = (chains.data, chains.training, chains.monitoring)
AT_THE_DESK = {  # differences at the desk: (step, input) -> its source in dvc.yaml, None for a parameter or none
    **dict.fromkeys([("build_features", "start"), ("build_features", "end")]),  # one window, and no earlier days
    **dict.fromkeys([("check_features", "start"), ("check_features", "end"), ("validate", "since")]),
    **dict.fromkeys([("gate", "champion_uri"), ("gate", "champion_sha256")]),  # no version is registered
    **dict.fromkeys((step, name) for step in ("score", "report_drift") for name in ("model_version", "model_sha256")),
    ("decide_retraining", "model_version"): None,
    ("score", "model_uri"): Output(("gate",), "model_uri"),  # so the model that the gate chose is monitored
    ("report_drift", "evaluation_uri"): Output(("gate",), "evaluation_uri"),
}


def stage_command(stage: dict[str, Any]) -> str:
    return str(stage.get("do", stage)["cmd"])


def test_there_is_a_dvc_stage_for_each_step_of_the_desk() -> None:
    stages = [stage for name, stage in STAGES.items() if name != "code"]  # the others depend on it; it runs no step
    named = [re.search(r"\$\{flightdeck\} (\w+)", stage_command(stage)) for stage in stages]
    assert sorted(match[1] for match in named if match) == sorted(name for name, step in STEPS.items() if step.desk)
    assert all(named), "a stage runs something other than a step"


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.desk])
def test_a_stage_passes_inputs_that_its_step_accepts(name: str) -> None:
    (command,) = [c for stage in STAGES.values() if f" {name} " in (c := stage_command(stage))]
    flags = {flag.replace("-", "_") for flag in re.findall(r" --([\w-]+)", command)} - {"home", "out", "params"}
    fields = STEPS[name].load().Inputs.model_fields
    assert flags <= set(fields)
    assert {field for field, info in fields.items() if info.is_required()} <= flags


def test_the_dags_run_every_step(load: Callable[..., Any]) -> None:
    tasks = [task for dag in load().dags.values() for task in dag.tasks]
    named = {match[1] for task in tasks if (match := re.match(r"Step `(\w+)`", task.doc_md or ""))}
    assert named == {name for name, step in STEPS.items() if step.dag}


def test_the_chains_contain_every_step_that_the_dags_run() -> None:
    chained = {link.step for chain in CHAINS for link in links(chain)}
    before = {"choose_challenger"}  # the deployment DAG's plan, as others plan a window
    assert chained | before == {name for name, step in STEPS.items() if step.dag}


def desk_links() -> dict[str, dict[str, Any]]:
    """The sources of each step's inputs, in the order of the chains, as they are at the desk."""
    chained = [link for chain in DESK for link in links(chain) if STEPS[link.step].desk]
    return {
        link.step: {name: AT_THE_DESK.get((link.step, name), source) for name, source in link.inputs.items()}
        for link in chained
    }


def test_stages_are_in_the_order_of_the_chains() -> None:
    stages = [name for name in STAGES if name != "code"]
    chained = list(desk_links())
    assert stages == chained
    position = {out: stages.index(stage) for stage in stages for out in outs(stage)}
    for stage in stages:
        for dep in deps_of(stage):
            rests_on = [at for out, at in position.items() if out.startswith(dep) or dep.startswith(out)]
            assert all(at < stages.index(stage) for at in rests_on), (stage, dep)


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.desk])
def test_stages_and_chains_agree_on_the_sources_of_inputs(name: str) -> None:
    handed = {
        flag.replace("-", "_"): Output((stage,), output)
        for flag, stage, output in HANDED.findall(stage_command(STAGES[name]))
    }
    assert handed == {i: source for i, source in desk_links()[name].items() if isinstance(source, Output)}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "code"])
def test_a_stage_depends_on_the_sources_of_its_inputs(name: str) -> None:
    deps, command = deps_of(name), stage_command(STAGES[name])
    assert command.count("@") == len(HANDED.findall(command)), "an output is passed on in another way"
    for _, source, _ in HANDED.findall(command):
        assert any(out.startswith(dep) for dep in deps for out in outs(source)), f"{name} does not depend on {source}"


def deps_of(stage: str) -> list[str]:
    return list(STAGES[stage].get("do", STAGES[stage])["deps"])


def outs(stage: str) -> list[str]:
    written = STAGES[stage].get("do", STAGES[stage])
    return [*written["outs"], *written.get("metrics", [])]


PARTS: dict[str, Chain] = {"data": chains.data, "training": chains.training, "monitoring": chains.monitoring}


@pytest.mark.parametrize("part", PARTS)
def test_a_dag_passes_outputs_as_its_chain_does(load: Callable[..., Any], part: str) -> None:
    dag = load().dags[f"pumps_{part}"]
    tasks = {match[1]: task for task in dag.tasks if (match := re.match(r"Step `(\w+)`", task.doc_md or ""))}
    assert set(tasks) == {link.step for link in links(PARTS[part])}
    for link in links(PARTS[part]):
        task = tasks[link.step]
        assert bool(link.over) == task.is_mapped
        mapped = link.over is not None
        handed = {**task.partial_kwargs["op_kwargs"], **task.op_kwargs_expand_input.value} if mapped else task.op_kwargs
        assert set(handed) == set(link.inputs)
        for name, source in link.inputs.items():
            if isinstance(source, Output):
                ((upstream, _),) = handed[name].iter_references()
                assert upstream.doc_md.startswith(f"Step `{source.steps[0]}`"), (link.step, name)
                assert takes(handed[name], source.name), (link.step, name)
            elif not isinstance(source, Argument):
                assert handed[name] == source


def takes(reference: Any, output: str) -> bool:
    """Whether a reference to outputs of a task, mapped or not, is a reference to this output."""
    if hasattr(reference, "callables"):
        return bool(reference.callables[0]({output: True}))
    return bool(reference.key == output)


def test_help_lists_every_step_with_its_inputs() -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    listing = done.stdout.split("steps and their inputs:")[1]
    for name, step in STEPS.items():
        (line,) = [line for line in listing.splitlines() if line.strip().startswith(f"{name} ") or line.strip() == name]
        for field in step.load().Inputs.model_fields:
            assert f"--{field.replace('_', '-')}" in line
        assert step.summary.endswith(".") and step.summary in " ".join(done.stdout.split())


def test_step_modules_import_no_heavy_library() -> None:
    """Listing the steps and their inputs imports no data or ML library."""
    from tests.dags.test_dags import HEAVY

    script = "import sys; from pipelines.steps import STEPS; [s.load() for s in STEPS.values()]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & {name.partition(".")[0] for name in done.stdout.split()}
