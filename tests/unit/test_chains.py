"""The chains connect outputs and inputs of their steps; a walk runs them in order, whole or in part."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pipelines import chains
from pipelines.chains import Chain
from pipelines.errors import InvalidInput
from pipelines.steps import STEPS
from pipelines.walk import walk
from tests.conftest import ROOT
from tests.wiring import CHAINS, STAGES, links

WINDOW = {"start": "2024-03-01", "end": "2024-03-03", "as_of": "2024-03-02T23:00:00+00:00", "run": "r"}
TRAINING = {**WINDOW, "families": ["mlp", "mmoe"], "feature_service": None, "trials": None, "seed": 1}
DEPLOYMENT = {"version": "2", "change": 3, "actor": "test", "run": "r", "stages": STAGES}
Calls = list[tuple[str, dict[str, Any]]]


@pytest.mark.parametrize("chain", CHAINS)
def test_steps_take_outputs_of_earlier_steps_only(chain: Chain) -> None:
    before: set[str] = set()
    for link in links(chain):
        fields = STEPS[link.step].load().Inputs.model_fields
        assert set(link.inputs) <= set(fields), link.step
        assert {name for name, info in fields.items() if info.is_required()} <= set(link.inputs), link.step
        for name, source in link.sources():
            assert set(source.steps) <= before, f"{link.step} takes {name} of a later step"
            for step in source.steps:
                assert source.name in STEPS[step].load().Outputs.model_fields, f"{link.step} takes {name}"
        before.add(link.step)


def test_the_steps_of_a_chain_are_in_order() -> None:
    steps = [link.step for link in links(chains.data)]
    assert steps[:4] == ["ingest", "snapshot", "validate", "build_features"] and steps[-1] == "check_parity"
    assert [link.step for link in links(chains.deployment)] == [
        "start_rollout",
        "preflight",
        *("set_stage", "judge_rollout") * len(STAGES),
        "finish_rollout",
    ]


def test_chains_import_nothing_but_errors() -> None:
    script = "import sys, pipelines.walk; print(*(name for name in sys.modules if name.startswith('pipelines')))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    known = {"pipelines", "pipelines.chains", "pipelines.walk", "pipelines.errors", "pipelines.redaction"}
    known |= {"pipelines.feast_import"}  # imported by the package itself
    assert set(done.stdout.split()) <= known


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
def execute(calls: Calls) -> Callable[..., dict[str, Any]]:
    """Records the call, and gives every output of the step; outputs of a mapped step differ by run."""

    def run(step: str, inputs: dict[str, Any]) -> dict[str, Any]:
        calls.append((step, inputs))
        return {name: f"{step} {len(calls)} {name}" for name in STEPS[step].load().Outputs.model_fields}

    return run


def test_a_walk_passes_outputs_on_and_collects_those_of_mapped_steps(
    calls: Calls, execute: Callable[..., dict[str, Any]]
) -> None:
    outputs = walk(chains.training, TRAINING, execute)
    assert [step for step, _ in calls] == [
        *("snapshot", "build_training_set", "train", "train", "evaluate", "evaluate"),
        *("log_candidates", "resolve_model", "gate", "register"),
    ]
    inputs = dict(calls)
    assert inputs["build_training_set"]["data_version"] == "snapshot 1 data_version"
    assert [given["family"] for step, given in calls if step == "train"] == ["mlp", "mmoe"]
    assert [given["model_uri"] for step, given in calls if step == "evaluate"] == [
        "train 3 model_uri",
        "train 4 model_uri",
    ]
    gathered = ["evaluate 5 evaluation_uri", "evaluate 6 evaluation_uri"]
    assert inputs["log_candidates"] == {"evaluation_uris": gathered}
    assert inputs["gate"]["evaluation_uris"] == gathered
    assert list(outputs) == list(inputs) and len(outputs["train"]) == 2
    assert outputs["register"] == {name: f"register 10 {name}" for name in outputs["register"]}


def test_an_input_of_none_is_left_out(calls: Calls, execute: Callable[..., dict[str, Any]]) -> None:
    walk(chains.training, TRAINING, execute)
    inputs = dict(calls)
    assert "feature_service" not in inputs["build_training_set"]
    assert set(inputs["train"]) == {"family", "training_set_uri", "run", "seed"}


def test_a_part_of_a_chain_takes_the_rest_from_given_outputs(
    calls: Calls, execute: Callable[..., dict[str, Any]]
) -> None:
    known = {"snapshot": {"data_version": "d"}, "train": [{"model_uri": "a"}, {"model_uri": "b"}]}
    walk(chains.training, TRAINING, execute, only=("build_training_set", "evaluate"), previous=known)
    assert [(step, given.get("data_version"), given.get("model_uri")) for step, given in calls] == [
        ("build_training_set", "d", None),
        ("evaluate", None, "a"),
        ("evaluate", None, "b"),
    ]


@pytest.mark.parametrize(
    ("changes", "known", "message"),
    [
        ({"as_of": ...}, {}, "step build_training_set needs as_of, but chain training was not given 'as_of'; it has"),
        ({"families": ...}, {}, "step train needs family, but chain training was not given 'families'"),
        ({}, {"snapshot": {}}, "step build_training_set needs data_version, but step snapshot gave no .*; it has none"),
        (
            {},
            {"train": [{"family": "mlp"}]},
            "step evaluate needs model_uri, .* gave no output 'model_uri'; it has fam",
        ),
        ({}, {"gates": {}}, r"chain training has no step \['gates'\]; choose from \['build_training_set', "),
    ],
)
def test_an_input_without_a_source_is_named(
    execute: Callable[..., dict[str, Any]], changes: dict[str, Any], known: dict[str, Any], message: str
) -> None:
    given = {name: value for name, value in {**TRAINING, **changes}.items() if value is not ...}
    with pytest.raises(InvalidInput, match=message):
        walk(chains.training, given, execute, previous=known)


def test_an_output_of_an_omitted_step_is_named(execute: Callable[..., dict[str, Any]]) -> None:
    message = "chain data: step validate needs since, but step ingest was not run, and its outputs are not known"
    with pytest.raises(InvalidInput, match=message):
        walk(chains.data, WINDOW, execute, only=("validate",))


def answers(calls: Calls, *given: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """Runs a rollout in which the first step and then the judge, stage by stage, give these answers."""
    waiting = iter(given)

    def run(step: str, inputs: dict[str, Any]) -> dict[str, Any]:
        calls.append((step, inputs))
        if step not in ("start_rollout", "judge_rollout"):
            return {"action": inputs.get("action")}
        held = {"rollout": "r", "challenger": "2", "proceed": True, "next_stage": False, "ending": None}
        return {**held, "reason": step, "decision_id": None, **next(waiting)}

    return run


def test_a_rollout_advances_through_stages_until_an_answer_ends_it(calls: Calls) -> None:
    on, back = {"next_stage": True}, {"ending": "rollback", "decision_id": "d"}
    outputs = walk(chains.deployment, DEPLOYMENT, answers(calls, on, on, back))
    assert [inputs["stage"] for step, inputs in calls if step == "set_stage"] == ["shadow", "50"]
    ending = {"rollout": "r", "action": "rollback", "reason": "judge_rollout", "decision_id": "d"}
    assert calls[-1] == ("finish_rollout", ending) and outputs["finish_rollout"] == {"action": "rollback"}


def test_a_first_model_has_no_stages_and_without_a_rollout_nothing_is_finished(calls: Calls) -> None:
    walk(chains.deployment, DEPLOYMENT, answers(calls, {"ending": "promote"}))
    assert [step for step, _ in calls] == ["start_rollout", "preflight", "finish_rollout"]
    assert calls[-1][1] == {"rollout": "r", "action": "promote", "reason": "start_rollout"}
    calls.clear()
    walk(chains.deployment, DEPLOYMENT, answers(calls, {"proceed": False}))
    assert [step for step, _ in calls] == ["start_rollout"]
