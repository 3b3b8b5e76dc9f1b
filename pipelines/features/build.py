"""Build the feature tables of a window from validated tables."""

from __future__ import annotations

from pydantic import Field

from pipelines.context import Context
from pipelines.periods import PeriodField
from pipelines.steps import StepModel
from pipelines.usecase import FeatureTable


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

    Raises:
        CorruptData: if rows have other columns than their Feast view declares, two are of one key and instant, or one
            is known outside the window.
    """
    from pipelines.derivation.staleness import digests
    from pipelines.features.declared import require_columns, require_distinct
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
            if set(rows.column_names) != _built_columns(feature_table, context):
                require_columns(feature_table, rows, usecase.feature_repo)
            require_distinct(feature_table, rows)
            for period, part in split_by_knowledge(feature_table, rows, piece):
                data.store.write_table(data.partition("features", feature_table.name, period), part)
            counts[feature_table.name] += rows.num_rows
    context.derivations.note_built(rests_on)
    return Outputs(start=inputs.start, end=inputs.end, rows=counts)


def _built_columns(feature_table: FeatureTable, context: Context) -> set[str]:
    """The columns of the table's last partition: what was built with them needs no second look by Feast, which takes
    seconds to import.
    """
    data = context.data
    last = data.periods("features", feature_table.name)[-1:] if feature_table.daily else [None]
    places = [data.partition("features", feature_table.name, period) for period in last]
    return {name for place in places if data.store.exists(place) for name in data.store.column_names(place)}
