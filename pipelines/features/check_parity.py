"""Compare a sample of entities online and offline as of the same instant; any difference stops the chain."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, Field

from pipelines.context import Context
from pipelines.instants import MICROSECOND
from pipelines.steps import Instant, StepModel


class Inputs(StepModel):
    as_of: Instant = Field(description="instant that the online store must have reached")


class Outputs(StepModel):
    as_of: AwareDatetime
    compared: int
    verdict: str
    reasons: list[str]
    decision_id: str


def run(inputs: Inputs, context: Context) -> Outputs:
    """Sample entities of every view, read them online and offline as of the online store's instant, record the verdict.

    The online store may be ahead of the run (a backfill, or a store that is pushed to). Where features are not built
    up to the store's instant, only entities that were not pushed since the run's instant are compared, as of that
    instant; the others cannot be compared yet, so the verdict is HOLD at best, and the run continues.

    Raises:
        CheckFailed: naming view, entity, feature and both values of the first difference; or if nothing was compared.
    """
    from pipelines.errors import CheckFailed
    from pipelines.features.parity import compare, keep_unmoved, offline_values, online_values, sample_entities
    from pipelines.offline.repository import online_stands_at
    from pipelines.records import Decision, DecisionKind
    from pipelines.verdict import Verdict

    as_of = online_stands_at(context.feast)
    if as_of is None or as_of < inputs.as_of:
        raise CheckFailed(f"parity: the online store stands at {as_of}, before {inputs.as_of}; materialize first")
    ahead = _behind(as_of, context) if as_of > inputs.as_of else None
    at, compared, differences = (inputs.as_of if ahead else as_of) - MICROSECOND, 0, []
    for view in context.feast.list_feature_views():
        entities = sample_entities(context.feast, view, at, context.params.features.parity_sample)
        if ahead:
            entities = keep_unmoved(context.feast, view, entities, at)
        if not len(entities):
            continue
        online = online_values(context.feast, view, entities, at)
        offline = offline_values(context.feast, view, entities, at)
        compared += online.size
        differences += compare(view.name, entities, online, offline, context.usecase.model_inputs.values())
    bad = differences or not (compared or ahead)
    verdict = Verdict.REJECT if bad else Verdict.HOLD if ahead else Verdict.PASS
    agreed = f"{compared} values agree online and offline"
    reasons = tuple(differences[:20]) or ((f"{agreed}; {ahead}",) if ahead else (agreed,))
    decision = Decision(
        usecase=context.usecase.name,
        kind=DecisionKind.PARITY,
        as_of=as_of,
        verdict=verdict,
        reasons=reasons
        if compared or ahead
        else ("no entity could be compared; build and materialize features first",),
        subject={"views": sorted(view.name for view in context.feast.list_feature_views())},
        evidence={"compared": compared, "differences": len(differences)},
    )
    decision_id = context.decisions.record(decision)
    if verdict is Verdict.REJECT:
        raise CheckFailed(f"parity: {decision.reasons[0]}; {len(differences)} of {compared} values differ")
    return Outputs(
        as_of=as_of, compared=compared, verdict=verdict, reasons=list(decision.reasons), decision_id=decision_id
    )


def _behind(as_of: datetime, context: Context) -> str | None:
    """Why the features cannot be compared with an online store at this instant; None where they can."""
    from pipelines.errors import MissingData
    from pipelines.point_in_time import require_no_gap

    try:
        require_no_gap(context.data, context.usecase, as_of)
    except MissingData as missing:
        return f"the online store stands at {as_of.isoformat()}, ahead of the features: {missing}"
    return None
