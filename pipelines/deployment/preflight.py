"""Before a challenger scores requests: load it in a fresh process, score recorded requests, and time them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import CheckFailed, CorruptData
from pipelines.json_text import JsonObject
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context

SECONDS = 300  # time limit of the probe


class Inputs(StepModel):
    rollout: str = Field(min_length=1, description="name of the rollout")
    version: str = Field(min_length=1, description="registered version to check")


class Outputs(StepModel):
    rows: int = Field(description="recorded requests that were scored again")
    sha256: str
    max_difference: float = Field(description="of a score against the recorded one")
    p95_ms: float = Field(description="of single requests")
    load_seconds: float


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.artifacts.evaluation import Evaluation
    from pipelines.tracking.integrity import require_intact

    settings = context.params.rollout.preflight
    model_version = context.models.require(inputs.version)
    try:
        require_intact(context.data.store, context.tracker, model_version)
        Evaluation.read(context.data.store, model_version.evaluation_uri)
    except CorruptData as error:
        raise CheckFailed(f"version {inputs.version} may not serve: {error}; the champion stays") from error
    question = {
        "store": context.settings.store,
        "model_uri": model_version.model_uri,
        "sha256": model_version.sha256,
        "evaluation_uri": model_version.evaluation_uri,
        "sample": settings.sample,
        "seed": context.params.training.seed,
    }
    answer = _probe(question, inputs.version)
    problems = [
        problem
        for wrong, problem in (
            (answer["rows"] == 0, "its evaluation holds no request to score"),
            (not answer["finite"], "a score is no number"),
            (not answer["in_range"], "a score lies outside [0, 1]"),
            (answer["rows"] > 1 and answer["distinct"] == 1, "every score is the same"),
            (
                not answer["max_difference"] <= settings.tolerance,
                f"a score is {answer['max_difference']:.2g} from the recorded one (at most {settings.tolerance:g})",
            ),
            (
                not answer["p95_ms"] <= settings.max_p95_ms,
                f"95 % of single requests take up to {answer['p95_ms']:.1f} ms (at most {settings.max_p95_ms:g})",
            ),
        )
        if wrong
    ]
    if problems:
        raise CheckFailed(f"version {inputs.version} may not serve: {'; '.join(problems)}; the champion stays")
    outputs = {name: answer[name] for name in Outputs.model_fields}
    return Outputs(**outputs)


def _probe(question: JsonObject, version: str) -> JsonObject:
    """The answer of a fresh process that imports only the scorer.

    Raises:
        CheckFailed: if it fails, with its last line.
    """
    command = [sys.executable, "-m", "pipelines.deployment.preflight_probe"]
    try:
        process = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise CheckFailed(
            f"version {version} may not serve: no answer within {SECONDS} s; the champion stays"
        ) from None
    lines = process.stderr.strip().splitlines() or [f"exit status {process.returncode}"]
    if process.returncode != 0:
        raise CheckFailed(f"version {version} may not serve: {lines[-1]}; the champion stays")
    answer: JsonObject = json.loads(process.stdout.strip().splitlines()[-1])
    return answer
