"""Before a challenger meets a request: load it in a fresh process, score recorded requests, and time them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.errors import CheckFailed, CorruptData
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context

SECONDS = 300  # in which the probe must answer


class Inputs(StepModel):
    rollout: str = Field(min_length=1, description="name of the rollout")
    version: str = Field(min_length=1, description="registered version that is looked at")


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
    found = context.models.require(inputs.version)
    try:
        require_intact(context.data.store, context.tracker, found)
        Evaluation.read(context.data.store, found.evaluation_uri)
    except CorruptData as error:
        raise CheckFailed(f"version {inputs.version} may not serve: {error}; the champion stays") from error
    asked = {
        "store": context.settings.store,
        "model_uri": found.model_uri,
        "sha256": found.sha256,
        "evaluation_uri": found.evaluation_uri,
        "sample": settings.sample,
        "seed": context.params.training.seed,
    }
    seen = _probe(asked, inputs.version)
    problems = [
        problem
        for wrong, problem in (
            (seen["rows"] == 0, "its evaluation holds no request to score"),
            (not seen["finite"], "a score is no number"),
            (not seen["in_range"], "a score lies outside [0, 1]"),
            (seen["rows"] > 1 and seen["distinct"] == 1, "every score is the same"),
            (
                not seen["max_difference"] <= settings.tolerance,
                f"a score is {seen['max_difference']:.2g} from the recorded one (at most {settings.tolerance:g})",
            ),
            (
                not seen["p95_ms"] <= settings.max_p95_ms,
                f"95 % of single requests take up to {seen['p95_ms']:.1f} ms (at most {settings.max_p95_ms:g})",
            ),
        )
        if wrong
    ]
    if problems:
        raise CheckFailed(f"version {inputs.version} may not serve: {'; '.join(problems)}; the champion stays")
    wanted = {name: seen[name] for name in Outputs.model_fields}
    return Outputs(**wanted)


def _probe(asked: dict[str, Any], version: str) -> dict[str, Any]:
    """What a fresh process that has only the scorer says; CheckFailed with its last line where it fails."""
    command = [sys.executable, "-m", "pipelines.deployment.preflight_probe"]
    try:
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise CheckFailed(
            f"version {version} may not serve: no answer within {SECONDS} s; the champion stays"
        ) from None
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    if done.returncode != 0:
        raise CheckFailed(f"version {version} may not serve: {lines[-1]}; the champion stays")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
