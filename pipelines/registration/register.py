"""Register the gate's choice as the challenger, with the decision behind it, if the gate passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.json_text import JsonObject
from pipelines.steps import StepModel
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from pipelines.context import Context
    from pipelines.records import Entry
    from pipelines.registration.evaluation import EvaluatedModel
    from pipelines.tracking import ModelVersion


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


@dataclass(frozen=True)
class Approved:
    """The gate's choice.

    Attributes:
        decision: the gate's, as recorded; it passed exactly this model.
        run_id: MLflow run of the candidate.
    """

    evaluated: EvaluatedModel
    decision: JsonObject
    run_id: str


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.clock import instant_of
    from pipelines.records import CHALLENGER
    from pipelines.registration.version_cards import add_card
    from pipelines.tracking.integrity import digests

    if inputs.verdict is not Verdict.PASS:
        return Outputs(registered=False, version=None, aliases=[], run_id=None, change=None)
    if inputs.evaluation_uri is None:
        raise InvalidInput("the verdict is PASS, but evaluation_uri is missing; give the gate's")
    choice = read_approved(inputs, inputs.evaluation_uri, context)
    evaluation, model = choice.evaluated.evaluation, choice.evaluated.model
    tags = version_tags(choice, context)
    folders = {
        "model": model.uri,
        "evaluation": inputs.evaluation_uri,
        "training_set": evaluation.training_set_uri,
    }
    version = context.models.register(choice.run_id, tags, digests(context.data.store, folders))
    add_card(version, choice.decision, choice.evaluated, context)

    at = instant_of(context.clock, model.card.training_set.as_of)
    why = f"decision {inputs.decision_id} passed it"
    context.ledger.enter(entry(version, choice.run_id, at, why))
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


def read_approved(inputs: Inputs, evaluation_uri: str, context: Context) -> Approved:
    """Read the evaluated model, and check that the gate's decision is about it.

    Raises:
        InvalidInput: if model, evaluation, training set and decision do not belong together, or the candidate was not
            logged.
        MissingData, CorruptData: if a file is absent or altered.
    """
    from pipelines.registration import lineage
    from pipelines.registration.evaluation import read_evaluated_model

    evaluated = read_evaluated_model(context.data.store, evaluation_uri)
    lineage.require_together(evaluated.evaluation, evaluated.model, inputs.model_uri, inputs.training_set_uri)
    decision = context.decisions.get(inputs.decision_id)
    decision = lineage.require_authority(decision, inputs.decision_id, evaluated.model)
    family = evaluated.evaluation.family
    run_id = inputs.runs.get(family)
    if run_id is None:
        raise InvalidInput(f"runs names no run of {family}: {inputs.runs}; log the candidates first")
    return Approved(evaluated, decision, run_id)


def version_tags(choice: Approved, context: Context) -> dict[str, str]:
    """The tags of the version: its data and files, the origin that its run names, and the decision.

    Raises:
        MissingData: if there is no such run.
    """
    from pipelines.registration import lineage

    run_tags, evaluated = context.tracker.run_tags(choice.run_id), choice.evaluated
    return {
        **lineage.data_tags(evaluated.uri, evaluated.evaluation, evaluated.model),
        **{name: run_tags[name] for name in lineage.LOGGED if name in run_tags},
        "decision_id": choice.decision["id"],
    }


def entry(version: ModelVersion, run_id: str, at: datetime, why: str) -> Entry:
    """The registration, for the ledger."""
    from pipelines.records import Action, Entry

    evidence = {name: version.tags[name] for name in ("decision_id", "sha256", "data_version")}
    return Entry(
        key=f"register:{version.version}",
        at=at,
        actor="training",
        action=Action.REGISTER,
        version=version.version,
        previous=version.tags.get("parent_version"),
        share=0.0,
        reason=why,
        evidence={**evidence, "run_id": run_id},
    )
