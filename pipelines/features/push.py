"""Push rows that became known to the online store before their day is over."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from pipelines.context import Context
from pipelines.instants import MICROSECOND
from pipelines.steps import Instant, StepModel


class Inputs(StepModel):
    until: Instant = Field(description="instant up to which the validated tables tell what happened, itself included")


class Outputs(StepModel):
    since: AwareDatetime
    until: AwareDatetime
    rows: dict[str, int]


def run(inputs: Inputs, context: Context) -> Outputs:
    """Push the rows known since the online store's instant, and advance it to `until`.

    The store only moves forward and skips nothing, so pushes may be repeated, late or far apart. Every day up to that
    of `until` must be validated, the last one with the rows known so far.

    Raises:
        MissingData: if the online store was never materialized, or a day is not validated.
    """
    from pipelines.errors import MissingData
    from pipelines.features.stream import OnlineStore, rows_to_push
    from pipelines.online.standing import note_online_stands_at, online_stands_at

    stands_at = online_stands_at(context.feast)
    if stands_at is None:
        raise MissingData(f"the online store of {context.usecase.name} holds nothing yet; materialize it first")
    since, until = stands_at - MICROSECOND, inputs.until
    if until <= since:
        return Outputs(since=since, until=since, rows={})
    batches = list(rows_to_push(context.data, context.usecase, since, until))
    online = OnlineStore(context.feast)
    counts = {table.name: online.push(table.name, table.keys, rows) for table, rows in batches}
    note_online_stands_at(context.feast, until + MICROSECOND)
    return Outputs(since=since, until=until, rows=counts)
