"""Log every candidate to MLflow and, where the gate passed, register its choice as the challenger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.steps import StepModel
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    from pipelines.context import Context


class Inputs(StepModel):
    verdict: Verdict = Field(description="the gate's verdict")
    decision_id: str = Field(description="the gate's recorded decision")
    model_uri: str | None = Field(None, description="folder of the model that the gate chose; none where it chose none")
    evaluation_uri: str | None = Field(None, description="folder of its evaluation")
    training_set_uri: str = Field(description="folder of the training set")
    evaluation_uris: list[str] = Field(min_length=1, description="folders of all candidates' evaluations")


class Outputs(StepModel):
    registered: bool
    version: str | None
    aliases: list[str]
    run_id: str | None = Field(description="MLflow run of the gate's choice")
    runs: dict[str, str] = Field(description="MLflow run of each candidate, by family")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.registration import lineage
    from pipelines.registration.evaluation import FILES, read_evaluation

    store, code = context.data.store, lineage.code_tags()
    read = {uri: read_evaluation(store, uri) for uri in inputs.evaluation_uris}
    if inputs.verdict is Verdict.PASS:
        if inputs.evaluation_uri not in read or read[inputs.evaluation_uri][1].uri != (inputs.model_uri or "").rstrip(
            "/"
        ):
            raise InvalidInput(
                f"{inputs.model_uri} with {inputs.evaluation_uri} is none of evaluation_uris; give the gate's"
            )
        decision = context.records.decision(inputs.decision_id)
        lineage.require_authority(decision, inputs.decision_id, read[inputs.evaluation_uri][1])

    tags = {uri: {**lineage.data_tags(uri, *read[uri]), **code, "decision_id": inputs.decision_id} for uri in read}
    runs = {
        uri: context.tracker.log_candidate(
            model,
            lineage.run_params(model.card),
            lineage.run_metrics(evaluation),
            {name: store.read_bytes(f"{uri.rstrip('/')}/{name}") for name in FILES},
            tags[uri],
        )
        for uri, (evaluation, model) in read.items()
    }
    by_family = {str(read[uri][0]["family"]): run_id for uri, run_id in runs.items()}
    chosen = runs.get(inputs.evaluation_uri or "")
    if inputs.verdict is not Verdict.PASS or chosen is None or inputs.evaluation_uri is None:
        return Outputs(registered=False, version=None, aliases=[], run_id=chosen, runs=by_family)
    made = context.tracker.register(chosen, tags[inputs.evaluation_uri])
    return Outputs(registered=True, version=made.version, aliases=list(made.aliases), run_id=chosen, runs=by_family)
