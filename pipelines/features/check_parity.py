"""Compare a sample of entities online and offline as of the same instant; any difference stops the chain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import AwareDatetime, Field

from pipelines.context import Context
from pipelines.instants import MICROSECOND
from pipelines.steps import Instant, StepModel
from pipelines.verdict import Verdict

SHOWN = 20  # differences that a decision quotes


class Inputs(StepModel):
    as_of: Instant = Field(description="instant that the online store must have reached")


class Outputs(StepModel):
    as_of: AwareDatetime
    compared: int
    verdict: str
    reasons: list[str]
    decision_id: str


@dataclass(frozen=True)
class Comparison:
    """Values of online and offline features side by side.

    Attributes:
        compared: number of values.
        differences: one sentence for each value that differs.
        ahead: why only entities that were not pushed since the run's instant were compared; None where all were.
    """

    compared: int
    differences: tuple[str, ...]
    ahead: str | None

    @property
    def verdict(self) -> Verdict:
        if self.differences or not (self.compared or self.ahead):
            return Verdict.REJECT
        return Verdict.HOLD if self.ahead else Verdict.PASS

    @property
    def reasons(self) -> tuple[str, ...]:
        """The first differences, else how many values agree."""
        if not (self.compared or self.ahead):
            return ("no entity could be compared; build and materialize features first",)
        agreed = f"{self.compared} values agree online and offline"
        return self.differences[:SHOWN] or (f"{agreed}; {self.ahead}" if self.ahead else agreed,)


def run(inputs: Inputs, context: Context) -> Outputs:
    """Sample entities of every view, read them online and offline as of the online store's instant, record the verdict.

    The online store may be ahead of the run (a backfill, or a store that is pushed to). Where features are not built
    up to the store's instant, only entities that were not pushed since the run's instant are compared, as of that
    instant; the others cannot be compared yet, so the verdict is HOLD at best, and the run continues.

    Raises:
        CheckFailed: naming view, entity, feature and both values of the first difference; or if nothing was compared.
    """
    from pipelines.errors import CheckFailed
    from pipelines.online.standing import online_stands_at
    from pipelines.records import Decision, DecisionKind

    as_of = online_stands_at(context.feast)
    if as_of is None or as_of < inputs.as_of:
        raise CheckFailed(f"parity: the online store stands at {as_of}, before {inputs.as_of}; materialize first")
    ahead = _behind(as_of, context) if as_of > inputs.as_of else None
    comparison = compare_views((inputs.as_of if ahead else as_of) - MICROSECOND, ahead, context)
    compared, differences = comparison.compared, len(comparison.differences)
    verdict, reasons = comparison.verdict, comparison.reasons
    decision_id = context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.PARITY,
            as_of=as_of,
            verdict=verdict,
            reasons=reasons,
            subject={"views": sorted(view.name for view in context.feast.list_feature_views())},
            evidence={"compared": compared, "differences": differences},
        )
    )
    if verdict is Verdict.REJECT:
        raise CheckFailed(f"parity: {reasons[0]}; {differences} of {compared} values differ")
    return Outputs(as_of=as_of, compared=compared, verdict=verdict, reasons=list(reasons), decision_id=decision_id)


def compare_views(at: datetime, ahead: str | None, context: Context) -> Comparison:
    """Compare a sample of every view as of an instant; where the store is ahead, of entities that have not moved."""
    from pipelines.features.parity import compare, keep_unmoved, offline_values, online_values, sample_entities
    from pipelines.online.standing import known_until

    compared, differences = 0, list[str]()
    for view in context.feast.list_feature_views():
        last = at if ahead else known_until(view.name, at + MICROSECOND, context.usecase) - MICROSECOND
        entities = sample_entities(context.feast, view, last, context.params.features.parity_sample)
        if ahead:
            entities = keep_unmoved(context.feast, view, entities, last)
        if not len(entities):
            continue
        online = online_values(context.feast, view, entities, last)
        offline = offline_values(context.feast, view, entities, last)
        compared += online.size
        differences += compare(view.name, entities, online, offline, context.usecase.model_inputs.values())
    return Comparison(compared, tuple(differences), ahead)


def _behind(as_of: datetime, context: Context) -> str | None:
    """Why the features cannot be compared with an online store at this instant; None where they can."""
    from pipelines.errors import MissingData
    from pipelines.point_in_time import require_no_gap

    try:
        require_no_gap(context.data, context.usecase, as_of)
    except MissingData as missing:
        return f"the online store stands at {as_of.isoformat()}, ahead of the features: {missing}"
    return None
