"""Where the gate passed, register its choice as the challenger, with the decision behind it."""

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
    from pipelines.registration.evaluation import read_evaluated
    from pipelines.registration.keeping import keep_card
    from pipelines.tracking.integrity import digests

    if inputs.verdict is not Verdict.PASS:
        return Outputs(registered=False, version=None, aliases=[], run_id=None, change=None)
    if inputs.evaluation_uri is None:
        raise InvalidInput("the verdict is PASS, but evaluation_uri is missing; give the gate's")
    evaluated = read_evaluated(context.data.store, inputs.evaluation_uri)
    evaluation, model = evaluated.evaluation, evaluated.model
    lineage.require_together(evaluation, model, inputs.model_uri, inputs.training_set_uri)
    decision = context.decisions.get(inputs.decision_id)
    lineage.require_authority(decision, inputs.decision_id, model)
    run_id = inputs.runs.get(evaluation.family)
    if run_id is None:
        raise InvalidInput(f"runs has none of {evaluation.family}: {inputs.runs}; log the candidates first")

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
    registered = context.models.register(run_id, tags, digests(context.data.store, folders))
    keep_card(registered, decision, evaluated, context)

    at = instant_of(context.clock, model.card.training_set.as_of)
    why = f"decision {inputs.decision_id} passed it"
    context.ledger.enter(
        Entry(
            key=f"register:{registered.version}",
            at=at,
            actor="training",
            action=Action.REGISTER,
            version=registered.version,
            previous=registered.tags.get("parent_version"),
            share=0.0,
            reason=why,
            evidence={
                **{name: registered.tags[name] for name in ("decision_id", "sha256", "data_version")},
                "run_id": run_id,
            },
        )
    )
    # Last: a version that an alias names has its card and its line.
    registered = context.models.nominate(registered.version)
    for alias in registered.aliases:  # so that the watcher of aliases does not take them for a person's
        context.aliases.note(alias, registered.version, "training", at, why)
    last = context.aliases.last(CHALLENGER)
    return Outputs(
        registered=True,
        version=registered.version,
        aliases=list(registered.aliases),
        run_id=registered.run_id,
        change=last[0] if last and last[1] == registered.version else None,
    )
