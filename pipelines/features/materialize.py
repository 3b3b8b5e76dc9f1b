"""Bring the online store to what was known at an instant."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from pipelines.context import Context
from pipelines.steps import Instant, StepModel


class Inputs(StepModel):
    as_of: Instant = Field(description="instant whose knowledge the online store shall hold")


class Outputs(StepModel):
    as_of: AwareDatetime
    moved: bool


def run(inputs: Inputs, context: Context) -> Outputs:
    """Materialize everything known up to `as_of`.

    The online store only moves forward: a backfill of days that it has passed leaves it as it is, and the outputs say
    at which instant it stands.
    """
    from datetime import UTC

    from pipelines.windows import midnight

    ends = [view.most_recent_end_time for view in context.feast.list_feature_views()]
    stands_at = min((end.astimezone(UTC) for end in ends if end), default=None) if all(ends) else None
    if stands_at and inputs.as_of <= stands_at:
        return Outputs(as_of=stands_at, moved=False)
    start = midnight(context.usecase.start, context.usecase.timezone)
    context.feast.materialize(start_date=start, end_date=inputs.as_of)
    return Outputs(as_of=inputs.as_of, moved=True)
