"""Build the feature tables of a window from validated tables."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from pipelines.context import Context
from pipelines.steps import StepModel


class Inputs(StepModel):
    start: date = Field(description="first local day on which the features were known")
    end: date = Field(description="day after the last, exclusive")


class Outputs(StepModel):
    start: date
    end: date
    rows: dict[str, int]


def run(inputs: Inputs, context: Context) -> Outputs:
    """One feature table at a time: read what it rests on, build, write a partition a day of knowledge."""
    from pipelines.features.partitions import earliest_day, split_by_knowledge
    from pipelines.offline.frames import read_tables

    window = context.window(inputs.start, inputs.end)
    counts = {}
    for feature_table in context.usecase.feature_tables:
        names = set(feature_table.sources)
        not_before = earliest_day(context.data, context.usecase, names, window)
        reach = window.widened(feature_table.lookback_days, not_before)
        tables = read_tables(context.data, context.usecase, names, reach)
        rows = context.usecase.build(feature_table, tables, window)
        for day, part in split_by_knowledge(feature_table, rows, window):
            context.data.store.write_table(context.data.partition("features", feature_table.name, day), part)
        counts[feature_table.name] = rows.num_rows
    return Outputs(start=inputs.start, end=inputs.end, rows=counts)
