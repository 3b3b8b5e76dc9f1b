"""Copy a window of the source into raw partitions, one a local day."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from pipelines.context import Context
from pipelines.steps import StepModel


class Inputs(StepModel):
    start: date = Field(description="first local day")
    end: date = Field(description="day after the last, exclusive")


class Outputs(StepModel):
    start: date
    end: date
    rows: dict[str, int]
    partitions: int


def run(inputs: Inputs, context: Context) -> Outputs:
    """Read every table first, then write: a source that cannot be read leaves nothing behind."""
    from pipelines.ingestion.partitions import split

    window = context.window(inputs.start, inputs.end)
    tables = {
        table: context.usecase.read(table, window, context.params.source.path) for table in context.usecase.tables
    }
    partitions = 0
    for table, rows in tables.items():
        for day, part in split(table, rows, window):
            context.data.store.write_table(context.data.partition("raw", table.name, day), part)
            partitions += 1
    counts = {table.name: rows.num_rows for table, rows in tables.items()}
    return Outputs(start=inputs.start, end=inputs.end, rows=counts, partitions=partitions)
