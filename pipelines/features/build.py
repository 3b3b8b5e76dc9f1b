"""Build the feature tables of a window from validated tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pydantic import Field

from pipelines.context import Context
from pipelines.declare.views import rests_on_earlier_days
from pipelines.periods import Period, PeriodField
from pipelines.steps import StepModel
from pipelines.usecase import KNOWN_AT, FeatureTable
from pipelines.windows import Window


class Inputs(StepModel):
    start: PeriodField = Field(description="first local day or period in which the features were known")
    end: PeriodField = Field(description="the one after the last, exclusive")


UNDER_WAY = ""  # noted of what is being built again: after a kill it is out of date, whatever is declared by then
MOST_ROWS = 500_000  # of the source tables, in memory at once; a single period with its lookback may be more


class Outputs(StepModel):
    start: PeriodField
    end: PeriodField
    rows: dict[str, int]


def run(inputs: Inputs, context: Context) -> Outputs:
    """Build one feature table after another, in pieces of whole periods, and write a partition for each period.

    The partitions do not depend on how the window is split. Those that are there, and were built of what would be built
    now, are left as they are: of the same declaration, code and validated data. A table without periods is built anew.

    Raises:
        CorruptData: if rows have other columns than their Feast view declares, two are of one key and instant, or one
            is known outside the window.
    """
    from pipelines.derivation.staleness import digests

    usecase, data = context.usecase, context.data
    window = context.window(inputs.start, inputs.end)
    rests_on, built = digests(window.periods, context), context.derivations.built()
    counts = {}
    for table in usecase.feature_tables:
        now, there = rests_on[table.name], set(data.periods("features", table.name)) if table.daily else set()
        outdated = [
            one for one in window.periods if one not in there or built.get(one, {}).get(table.name) not in now[one]
        ]
        again = [one for one in (outdated if table.daily else window.periods) if table.name in built.get(one, {})]
        context.derivations.note_built(table.name, dict.fromkeys(again, UNDER_WAY))
        for span in _spans(outdated, window) if table.daily else [window]:
            _build(table, span, context)
        context.derivations.note_built(table.name, {one: grounds.read for one, grounds in now.items()})
        if rests_on_earlier_days(table):
            _build_ahead(table, window, context)
        places = [data.partition("features", table.name, one) for one in (window.periods if table.daily else [None])]
        counts[table.name] = sum(map(data.store.count_rows, places))
    return Outputs(start=inputs.start, end=inputs.end, rows=counts)


def _build_ahead(table: FeatureTable, window: Window, context: Context) -> None:
    """Build the rows that are known as the day after the window begins, unless that day is built or out of the source.

    They rest on days before it, so that its own run leaves them as they are.
    """
    from pipelines.derivation.staleness import built_periods, digests

    calendar, day = context.calendar, window.end
    ends = calendar.first_of(context.usecase.end) if context.usecase.end != date.max else None
    if calendar.first_of(calendar.day_of(day)) != day or (ends and day >= ends) or day in built_periods(context):
        return
    context.derivations.note_built(table.name, {day: UNDER_WAY})
    _build(table, window.between(day, calendar.after(day)), context, ahead=True)
    context.derivations.note_built(table.name, {day: digests([day], context)[table.name][day].read})


def _spans(periods: Sequence[Period], window: Window) -> list[Window]:
    """The windows of neighbouring periods."""
    spans: list[Window] = []
    for period in periods:
        start = spans.pop().start if spans and spans[-1].end == period else period
        spans.append(window.between(start, window.calendar.after(period)))
    return spans


def _build(table: FeatureTable, window: Window, context: Context, ahead: bool = False) -> None:
    """Build and write the rows of a window; of one `ahead` without its own periods, of which nothing is there yet."""
    from pipelines.declare.tables import feature_rows
    from pipelines.features.declared import require_columns, require_distinct
    from pipelines.features.splitting import pieces, split_by_knowledge
    from pipelines.point_in_time import read_tables

    data, usecase = context.data, context.usecase
    for piece, reach in pieces(data, usecase, table, window, MOST_ROWS):
        read = reach.between(reach.start, piece.start) if ahead and reach.start < piece.start else reach
        rows = feature_rows(usecase, table, read_tables(data, usecase, set(table.sources), read), piece)
        if set(rows.column_names) != _expected_columns(table, context):
            require_columns(table, rows, usecase)
        require_distinct(table, rows)
        for period, part in split_by_knowledge(table, rows, piece):
            data.store.write_table(data.partition("features", table.name, period), part)


def _expected_columns(feature_table: FeatureTable, context: Context) -> set[str]:
    """The declared columns where Feast's view follows from them, else those of the table's last partition.

    Rows with these need no look at their view by Feast, which takes seconds to import.
    """
    from pipelines.declare.views import Declared

    if isinstance(feature_table, Declared) and context.usecase.feature_repo is None:
        return {*feature_table.keys, KNOWN_AT, *feature_table.names}
    data = context.data
    last = data.periods("features", feature_table.name)[-1:] if feature_table.daily else [None]
    places = [data.partition("features", feature_table.name, period) for period in last]
    return {name for place in places if data.store.exists(place) for name in data.store.column_names(place)}
