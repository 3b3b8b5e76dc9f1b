"""Build the feature tables of a window from validated tables."""

from __future__ import annotations

from pydantic import Field

from pipelines.context import Context
from pipelines.periods import PeriodField
from pipelines.steps import StepModel


class Inputs(StepModel):
    start: PeriodField = Field(description="first local day or period in which the features were known")
    end: PeriodField = Field(description="the one after the last, exclusive")


MOST_ROWS = 500_000  # of the source tables, in memory at once; a single period with its lookback may be more


class Outputs(StepModel):
    start: PeriodField
    end: PeriodField
    rows: dict[str, int]


def run(inputs: Inputs, context: Context) -> Outputs:
    """Build one feature table after another, in pieces of whole periods, and write a partition for each period.

    The partitions do not depend on how the window is split.
    """
    from pipelines.derivation.staleness import digests
    from pipelines.features.splitting import pieces, split_by_knowledge
    from pipelines.point_in_time import read_tables

    usecase, data = context.usecase, context.data
    window = context.window(inputs.start, inputs.end)
    rests_on = digests(window.periods, context)
    counts = {feature_table.name: 0 for feature_table in usecase.feature_tables}
    for feature_table in usecase.feature_tables:
        for piece, reach in pieces(data, usecase, feature_table, window, MOST_ROWS):
            tables = read_tables(data, usecase, set(feature_table.sources), reach)
            rows = usecase.build(feature_table, tables, piece)
            del tables
            for period, part in split_by_knowledge(feature_table, rows, piece):
                data.store.write_table(data.partition("features", feature_table.name, period), part)
            counts[feature_table.name] += rows.num_rows
    context.derivations.note_built(rests_on)
    return Outputs(start=inputs.start, end=inputs.end, rows=counts)
