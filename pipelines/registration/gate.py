"""Choose the best candidate that passes the floors and hold it against the champion: PASS, HOLD or REJECT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.steps import Instant, RunName, StepModel
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.artifacts.model import ModelRef
    from pipelines.context import Context
    from pipelines.registration.candidates import Judged, Judgement
    from pipelines.registration.champion import Comparison
    from pipelines.registration.evaluation import Evaluated


class Inputs(StepModel):
    evaluation_uris: list[str] = Field(min_length=1, description="folders of the candidates' evaluations")
    champion_uri: str | None = Field(
        None, description="folder of the champion's model; none where there is no champion"
    )
    champion_sha256: str | None = Field(
        None, description="sha256 of the champion's graph as it was registered; by default whatever its folder holds"
    )
    as_of: Instant = Field(description="the instant whose knowledge the candidates were trained on")
    run: RunName = Field(description="the caller's name for this training run")


class Outputs(StepModel):
    verdict: Verdict
    reasons: list[str]
    family: str | None
    model_uri: str | None
    evaluation_uri: str | None
    training_set_uri: str
    decision_id: str


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.artifacts.model import ModelRef
    from pipelines.registration.candidates import best

    candidates = read_candidates(inputs, context)
    training_set_uri = require_one_training_set(candidates)
    judged = [judge_alone(one, scored, context) for one, scored in candidates]
    chosen, comparison = best(judged), None
    if chosen and inputs.champion_uri:
        scored = next(scored for one, scored in candidates if one.uri == chosen.candidate.evaluation_uri)
        champion = ModelRef(inputs.champion_uri, inputs.champion_sha256)
        chosen, comparison = judge_against(champion, chosen, scored, context)
    judgement = conclude(judged, chosen, comparison, inputs, context)
    decision_id = record(judgement, [one for one, _ in candidates], inputs, context)
    return Outputs(
        verdict=judgement.verdict,
        reasons=list(judgement.reasons),
        family=chosen.candidate.family if chosen else None,
        model_uri=chosen.candidate.model_uri if chosen else None,
        evaluation_uri=chosen.candidate.evaluation_uri if chosen else None,
        training_set_uri=training_set_uri,
        decision_id=decision_id,
    )


def read_candidates(inputs: Inputs, context: Context) -> list[tuple[Evaluated, pd.DataFrame]]:
    """Every candidate with its scored test frame.

    Raises:
        MissingData, CorruptData: if a file is absent or altered.
        InvalidInput: if one was trained as of another instant.
    """
    from pipelines.artifacts.evaluation import read_scored
    from pipelines.registration.evaluation import read_evaluated, require_current

    store, candidates = context.data.store, []
    for uri in inputs.evaluation_uris:
        evaluated = read_evaluated(store, uri)
        require_current(evaluated.model, inputs.as_of)
        candidates.append((evaluated, read_scored(store, uri, evaluated.evaluation)))
    return candidates


def require_one_training_set(candidates: Sequence[tuple[Evaluated, pd.DataFrame]]) -> str:
    """The folder of the training set that all candidates come from; InvalidInput where there are several."""
    sets = sorted({one.evaluation.training_set_uri for one, _ in candidates})
    if len(sets) > 1:
        raise InvalidInput(
            f"the candidates come from different training sets ({', '.join(sets)}); compare like with like"
        )
    return sets[0]


def judge_alone(evaluated: Evaluated, scored: pd.DataFrame, context: Context) -> Judged:
    """A candidate before the floors of params.yaml."""
    from datetime import timedelta
    from zoneinfo import ZoneInfo

    from pipelines.artifacts.manifest import Manifest
    from pipelines.registration.candidates import check
    from pipelines.registration.facts import graph_facts, slice_facts, training_set_problem, window_problem
    from pipelines.usecase import DAY, slices_of

    rules, evaluation, model = context.params.gate, evaluated.evaluation, evaluated.model
    manifest = Manifest.read(context.data.store, evaluation.training_set_uri)
    trained = model.card.training_set
    problem = training_set_problem(model, manifest) or window_problem(
        evaluation,
        trained.windows,
        scored[DAY],
        trained.as_of.astimezone(ZoneInfo(context.usecase.timezone)).date(),
        timedelta(context.params.splits.embargo_days),
    )
    metrics = {rule.metric for rule in (*rules.floors, *rules.against_champion)}
    facts = {
        **evaluation.metrics,
        **slice_facts(evaluation, slices_of(context.usecase), context.params.evaluation.min_slice),
        **graph_facts(model, scored, metrics),
    }
    return check(evaluated.candidate(problem), rules.floors, facts)


def judge_against(
    champion: ModelRef, chosen: Judged, scored: pd.DataFrame, context: Context
) -> tuple[Judged, Comparison]:
    """The choice before the gates against the champion, and what these rest on."""
    from pipelines.registration.candidates import Judged, check
    from pipelines.registration.champion import compare

    params = context.params
    comparison = compare(scored, champion, context.data.store, params.evaluation, params.training.seed)
    against = check(chosen.candidate, params.gate.against_champion, comparison.deltas)
    return Judged(chosen.candidate, chosen.findings + against.findings), comparison


def conclude(
    judged: Sequence[Judged], chosen: Judged | None, comparison: Comparison | None, inputs: Inputs, context: Context
) -> Judgement:
    """The verdict over all candidates, with its reasons.

    Where no champion is named and yet one is in force, nothing passes.
    """
    from pipelines.registration.candidates import Judgement, none_passes

    verdict = chosen.verdict if chosen else none_passes(judged)
    failed = [why for one in judged if one.verdict is not Verdict.PASS for why in one.reasons]
    reasons = list(chosen.reasons) if chosen else failed
    if comparison and comparison.problem:
        reasons.append(comparison.problem)
    if chosen and not inputs.champion_uri:
        reasons.append("there is no champion to compare with")
        plan = context.plans.current()
        if plan is not None and verdict is Verdict.PASS:
            verdict = Verdict.HOLD
            reasons.append(f"version {plan.champion} is in force, so there is one; set alias champion to it again")
    return Judgement(verdict, tuple(reasons), tuple(judged), chosen, comparison)


def record(judgement: Judgement, candidates: Sequence[Evaluated], inputs: Inputs, context: Context) -> str:
    """Write the decision; its id."""
    from pipelines.records import Decision, DecisionKind

    return context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.GATE,
            as_of=inputs.as_of,
            verdict=judgement.verdict.value,
            reasons=judgement.reasons,
            subject={
                "run": inputs.run,
                "candidates": sorted(one.model.sha256 for one in candidates),
                "champion": inputs.champion_uri,
            },
            evidence={
                **judgement.evidence(inputs.champion_uri),
                "data_versions": sorted({one.model.card.training_set.data_version for one in candidates}),
            },
            measured={"measured": judgement.measured},
        )
    )
