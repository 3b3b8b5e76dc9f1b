"""Bring the online store to what was known at an instant."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from pipelines.context import Context
from pipelines.steps import Instant, StepModel


class Inputs(StepModel):
    as_of: Instant = Field(description="instant whose knowledge the online store shall hold, itself excluded")


class Outputs(StepModel):
    as_of: AwareDatetime
    moved: bool


def run(inputs: Inputs, context: Context) -> Outputs:
    """Materialize everything known before `as_of`. (A row known at that very instant is of the next day's partition.)

    The online store only moves forward: a backfill of days that it has passed leaves it as it is, and the outputs say
    at which instant it stands.

    Raises:
        MissingData: if the features of a day before `as_of` are not built.
    """
    import contextlib
    import io

    from pipelines.features.partitions import require_no_gap
    from pipelines.offline.repository import JUST_BEFORE, online_stands_at
    from pipelines.windows import midnight

    stands_at = online_stands_at(context.feast)
    if stands_at and inputs.as_of <= stands_at:
        return Outputs(as_of=stands_at, moved=False)
    require_no_gap(context.data, context.usecase, inputs.as_of)
    start = midnight(context.usecase.start, context.usecase.timezone)
    with contextlib.redirect_stdout(io.StringIO()):  # Feast prints headings of progress bars that are not there
        context.feast.materialize(start_date=start, end_date=inputs.as_of - JUST_BEFORE)
    return Outputs(as_of=inputs.as_of, moved=True)
