"""Choose the best candidate that passes the floors and hold it against the champion: PASS, HOLD or REJECT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.steps import Instant, RunName, StepModel
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    from pipelines.context import Context


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
    from pipelines.manifest import read_manifest
    from pipelines.records import Decision, DecisionKind
    from pipelines.registration.candidates import Judged, best, check, none_passes
    from pipelines.registration.champion import compare
    from pipelines.registration.evaluation import candidate, read_evaluation, read_scored, require_current
    from pipelines.registration.facts import graph_facts, slice_facts, training_set_problem, window_problem
    from pipelines.usecase import DAY, slices_of

    store, rules, settings = context.data.store, context.params.gate, context.params.evaluation
    asked = {rule.metric for rule in (*rules.floors, *rules.against_champion)}
    candidates, frames, facts, data_versions = [], {}, {}, set()
    for uri in inputs.evaluation_uris:
        evaluation, model = read_evaluation(store, uri)
        require_current(model, inputs.as_of)
        frames[uri] = read_scored(store, uri, evaluation)
        windows, manifest = model.card["training_set"]["windows"], read_manifest(store, evaluation["training_set_uri"])
        days, zone, embargo = frames[uri][DAY], context.usecase.timezone, context.params.splits.embargo_days
        problem = training_set_problem(model, manifest)
        problem = problem or window_problem(evaluation, windows, days, inputs.as_of, zone, embargo)
        candidates.append(candidate(uri, evaluation, model, problem))
        facts[uri] = {
            **evaluation["metrics"],
            **slice_facts(evaluation, slices_of(context.usecase), settings.min_slice),
            **graph_facts(model, frames[uri], asked),
        }
        data_versions.add(str(model.card["training_set"]["data_version"]))
    sets = sorted({one.training_set_uri for one in candidates})
    if len(sets) > 1:
        raise InvalidInput(
            f"the candidates come from different training sets ({', '.join(sets)}); compare like with like"
        )

    judged = [check(one, rules.floors, facts[one.evaluation_uri]) for one in candidates]
    chosen = best(judged)
    comparison = None
    if chosen and inputs.champion_uri:
        one, champion = chosen.candidate, (inputs.champion_uri, inputs.champion_sha256)
        scored, bins, seed = frames[one.evaluation_uri], settings.calibration_bins, context.params.training.seed
        comparison = compare(scored, champion, store, bins, settings.bootstrap, seed)
        against = check(one, rules.against_champion, comparison.deltas)
        chosen = Judged(one, chosen.findings + against.findings)

    verdict = chosen.verdict if chosen else none_passes(judged)
    reasons = (
        list(chosen.reasons) if chosen else [why for j in judged if j.verdict is not Verdict.PASS for why in j.reasons]
    )
    if comparison and comparison.problem:
        reasons.append(comparison.problem)
    if chosen and not inputs.champion_uri:
        plan = context.plans.current()
        reasons.append("there is no champion to compare with")
        if plan is not None and verdict is Verdict.PASS:
            verdict = Verdict.HOLD
            reasons.append(f"version {plan.champion} is in force, so there is one; set alias champion to it again")
    decision_id = context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.GATE,
            as_of=inputs.as_of,
            verdict=verdict.value,
            reasons=tuple(reasons),
            subject={
                "run": inputs.run,
                "candidates": sorted(c.sha256 for c in candidates),
                "champion": inputs.champion_uri,
            },
            evidence={
                "candidates": [j.evidence() for j in judged],
                "chosen": chosen.evidence() if chosen else None,
                "champion": {"uri": inputs.champion_uri, **vars(comparison)} if comparison else None,
                "data_versions": sorted(data_versions),
            },
            measured={"measured": {j.candidate.family: j.measured for j in judged if j.measured}},
        )
    )
    return Outputs(
        verdict=verdict,
        reasons=reasons,
        family=chosen.candidate.family if chosen else None,
        model_uri=chosen.candidate.model_uri if chosen else None,
        evaluation_uri=chosen.candidate.evaluation_uri if chosen else None,
        training_set_uri=sets[0],
        decision_id=decision_id,
    )
