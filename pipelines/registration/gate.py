"""Choose the best candidate that passes the floors and compare it with the champion: PASS, HOLD or REJECT."""

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
    from pipelines.registration.candidates import CandidateAssessment, Conclusion
    from pipelines.registration.champion import Comparison
    from pipelines.registration.evaluation import EvaluatedModel


class Inputs(StepModel):
    evaluation_uris: list[str] = Field(min_length=1, description="folders of the candidates' evaluations")
    champion_uri: str | None = Field(
        None, description="folder of the champion's model; none where there is no champion"
    )
    champion_sha256: str | None = Field(
        None, description="sha256 of the champion's graph as registered; by default the graph in its folder counts"
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
    assessments = [check_floors(one, scored, context) for one, scored in candidates]
    choice, comparison = best(assessments), None
    if choice and inputs.champion_uri:
        scored = next(scored for one, scored in candidates if one.uri == choice.candidate.evaluation_uri)
        champion = ModelRef(inputs.champion_uri, inputs.champion_sha256)
        choice, comparison = check_against_champion(champion, choice, scored, context)
    conclusion = conclude(assessments, choice, comparison, inputs, context)
    decision_id = record(conclusion, [one for one, _ in candidates], inputs, context)
    return Outputs(
        verdict=conclusion.verdict,
        reasons=list(conclusion.reasons),
        family=choice.candidate.family if choice else None,
        model_uri=choice.candidate.model_uri if choice else None,
        evaluation_uri=choice.candidate.evaluation_uri if choice else None,
        training_set_uri=training_set_uri,
        decision_id=decision_id,
    )


def read_candidates(inputs: Inputs, context: Context) -> list[tuple[EvaluatedModel, pd.DataFrame]]:
    """Every candidate with its scored test frame.

    Raises:
        MissingData, CorruptData: if a file is absent or altered.
        InvalidInput: if one was trained as of another instant.
    """
    from pipelines.artifacts.evaluation import read_scored
    from pipelines.registration.evaluation import read_evaluated_model, require_current

    store, candidates = context.data.store, []
    for uri in inputs.evaluation_uris:
        evaluated = read_evaluated_model(store, uri)
        require_current(evaluated.model, inputs.as_of)
        candidates.append((evaluated, read_scored(store, uri, evaluated.evaluation)))
    return candidates


def require_one_training_set(candidates: Sequence[tuple[EvaluatedModel, pd.DataFrame]]) -> str:
    """The folder of the one training set of all candidates.

    Raises:
        InvalidInput: if there are several.
    """
    sets = sorted({one.evaluation.training_set_uri for one, _ in candidates})
    if len(sets) > 1:
        raise InvalidInput(
            f"the candidates come from different training sets ({', '.join(sets)}); compare like with like"
        )
    return sets[0]


def check_floors(evaluated: EvaluatedModel, scored: pd.DataFrame, context: Context) -> CandidateAssessment:
    """Check a candidate against the floors of params.yaml."""
    from datetime import timedelta

    from pipelines.artifacts.manifest import Manifest
    from pipelines.instants import local_day
    from pipelines.registration.candidates import check
    from pipelines.registration.checks import (
        blocks_problem,
        graph_metrics,
        training_set_problem,
        window_problem,
        worst_slice_metrics,
    )
    from pipelines.usecase import DAY, slices_of

    rules, evaluation, model = context.params.gate, evaluated.evaluation, evaluated.model
    manifest = Manifest.read(context.data.store, evaluation.training_set_uri)
    training_set = model.card.training_set
    today = local_day(training_set.as_of, context.usecase.timezone)
    embargo = timedelta(context.params.splits.embargo_days)
    problem = (
        training_set_problem(model, manifest)
        or window_problem(evaluation, training_set.windows, scored[DAY], today, embargo)
        or blocks_problem(scored, context.params.evaluation.min_blocks)
    )
    metrics = {rule.metric for rule in (*rules.floors, *rules.against_champion)}
    measurements = {
        **evaluation.metrics,
        **worst_slice_metrics(evaluation, slices_of(context.usecase), context.params.evaluation.min_slice),
        **graph_metrics(model, scored, metrics),
    }
    return check(evaluated.candidate(problem), rules.floors, measurements)


def check_against_champion(
    champion: ModelRef, choice: CandidateAssessment, scored: pd.DataFrame, context: Context
) -> tuple[CandidateAssessment, Comparison]:
    """Check the choice against the champion; the assessment with all findings, and the comparison behind them."""
    from pipelines.registration.candidates import CandidateAssessment, check
    from pipelines.registration.champion import compare

    params = context.params
    comparison = compare(scored, champion, context.data.store, params.evaluation, params.training.seed)
    against = check(choice.candidate, params.gate.against_champion, comparison.deltas)
    return CandidateAssessment(choice.candidate, choice.findings + against.findings), comparison


def conclude(
    assessments: Sequence[CandidateAssessment],
    choice: CandidateAssessment | None,
    comparison: Comparison | None,
    inputs: Inputs,
    context: Context,
) -> Conclusion:
    """The verdict over all candidates, with its reasons.

    Nothing passes where the inputs name no champion although one is in force.
    """
    from pipelines.registration.candidates import Conclusion, none_passes

    verdict = choice.verdict if choice else none_passes(assessments)
    shortfalls = [why for one in assessments if one.verdict is not Verdict.PASS for why in one.reasons]
    reasons = list(choice.reasons) if choice else shortfalls
    if comparison and comparison.problem:
        reasons.append(comparison.problem)
    if choice and not inputs.champion_uri:
        reasons.append("there is no champion to compare with")
        plan = context.plans.current()
        if plan is not None and verdict is Verdict.PASS:
            verdict = Verdict.HOLD
            reasons.append(f"version {plan.champion} is in force but has no alias champion; set the alias to it again")
    return Conclusion(verdict, tuple(reasons), tuple(assessments), choice, comparison)


def record(conclusion: Conclusion, candidates: Sequence[EvaluatedModel], inputs: Inputs, context: Context) -> str:
    """Record the decision, and give its id."""
    from pipelines.records import Decision, DecisionKind

    return context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.GATE,
            as_of=inputs.as_of,
            verdict=conclusion.verdict.value,
            reasons=conclusion.reasons,
            subject={
                "run": inputs.run,
                "candidates": sorted(one.model.sha256 for one in candidates),
                "champion": inputs.champion_uri,
            },
            evidence={
                **conclusion.evidence(inputs.champion_uri),
                "data_versions": sorted({one.model.card.training_set.data_version for one in candidates}),
            },
            timings={"measured": conclusion.timings},
        )
    )
