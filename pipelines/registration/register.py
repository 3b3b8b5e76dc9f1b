"""Register the gate's choice as the challenger, with the decision behind it, if the gate passed."""

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
    evaluation_uri: str | None = Field(None, description="folder of the model's evaluation")
    training_set_uri: str = Field(description="folder of the training set")
    runs: dict[str, str] = Field(description="MLflow run of each candidate, by family")


class Outputs(StepModel):
    registered: bool
    version: str | None
    aliases: list[str]
    run_id: str | None = Field(description="MLflow run of the registered model")
    change: int | None = Field(description="number of the alias change to `challenger`; none where it was not set")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.clock import instant_of
    from pipelines.records import CHALLENGER, Action, Entry
    from pipelines.registration import lineage
    from pipelines.registration.evaluation import read_evaluated_model
    from pipelines.registration.version_cards import add_card
    from pipelines.tracking.integrity import digests

    if inputs.verdict is not Verdict.PASS:
        return Outputs(registered=False, version=None, aliases=[], run_id=None, change=None)
    if inputs.evaluation_uri is None:
        raise InvalidInput("the verdict is PASS, but evaluation_uri is missing; give the gate's")
    evaluated = read_evaluated_model(context.data.store, inputs.evaluation_uri)
    evaluation, model = evaluated.evaluation, evaluated.model
    lineage.require_together(evaluation, model, inputs.model_uri, inputs.training_set_uri)
    decision = context.decisions.get(inputs.decision_id)
    lineage.require_authority(decision, inputs.decision_id, model)
    run_id = inputs.runs.get(evaluation.family)
    if run_id is None:
        raise InvalidInput(f"runs names no run of {evaluation.family}: {inputs.runs}; log the candidates first")

    run_tags = context.tracker.run_tags(run_id)  # MissingData where there is no such run
    folders = {
        "model": model.uri,
        "evaluation": inputs.evaluation_uri,
        "training_set": evaluation.training_set_uri,
    }
    tags = {
        **lineage.data_tags(inputs.evaluation_uri, evaluation, model),
        **{name: run_tags[name] for name in lineage.LOGGED if name in run_tags},
        "decision_id": inputs.decision_id,
    }
    version = context.models.register(run_id, tags, digests(context.data.store, folders))
    add_card(version, decision, evaluated, context)

    at = instant_of(context.clock, model.card.training_set.as_of)
    why = f"decision {inputs.decision_id} passed it"
    context.ledger.enter(
        Entry(
            key=f"register:{version.version}",
            at=at,
            actor="training",
            action=Action.REGISTER,
            version=version.version,
            previous=version.tags.get("parent_version"),
            share=0.0,
            reason=why,
            evidence={
                **{name: version.tags[name] for name in ("decision_id", "sha256", "data_version")},
                "run_id": run_id,
            },
        )
    )
    # Last, so that a version with an alias always has its card and its entry in the ledger.
    version = context.models.nominate(version.version)
    for alias in version.aliases:  # so that the watcher of aliases does not take them for changes by hand
        context.aliases.note(alias, version.version, "training", at, why)
    last = context.aliases.last(CHALLENGER)
    return Outputs(
        registered=True,
        version=version.version,
        aliases=list(version.aliases),
        run_id=version.run_id,
        change=last[0] if last and last[1] == version.version else None,
    )
