"""Read a window of the source into raw partitions, one for each local day or shorter period."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from pipelines.context import Context
from pipelines.errors import CorruptData
from pipelines.periods import Calendar, Period, PeriodField
from pipelines.steps import StepModel

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.ingestion.staging import StagedRows, Staging
    from pipelines.ingestion.writing import Tally
    from pipelines.usecase import RawTable
    from pipelines.windows import Window


class Inputs(StepModel):
    start: PeriodField = Field(description="first local day, or period")
    end: PeriodField = Field(description="the one after the last, exclusive")


class TableCounts(BaseModel):
    """Of one table: the rows in the partitions of this run, and what happened to the delivered rows."""

    rows: int
    delivered: int
    left_out: int = Field(description="came, and `where` of the source left them out; of this run's reads")
    repeated: int = Field(description="came more than once, all columns equal")
    superseded: int = Field(description="gave way to a newer record of their key")
    undated: int = Field(description="lie in no period; in quarantine, with those of earlier runs")
    partitions: int = Field(description="new or changed")
    restated: list[PeriodField] = Field(description="periods whose partition was there before and is another now")
    kept: list[PeriodField] = Field(description="periods left as they are, since their file is gone")
    new_columns: list[str] = Field(description="not declared; carried as text")


class Outputs(StepModel):
    start: PeriodField
    end: PeriodField
    tables: dict[str, TableCounts]
    validate_since: PeriodField = Field(
        description="first period to validate: the window's, or one that changed since it was"
    )
    build_since: PeriodField = Field(description="first period whose features to build")
    build_until: PeriodField = Field(
        description="the one after the last whose features to build: later ones may rest on a change"
    )


def run(inputs: Inputs, context: Context) -> Outputs:
    """Stage every table first, then write: a source that cannot be read leaves nothing behind.

    The same window twice, overlapping windows, a retry after a kill and records delivered twice give the same bytes.

    Raises:
        MissingData: if a source is not there.
        Unavailable: if it gives no answer.
        CorruptData: if it is cut short, changed its schema, or too many of its rows lie in no period.
    """
    from filelock import FileLock

    from pipelines.derivation.staleness import overdue
    from pipelines.ingestion.staging import Staging

    window = context.window(inputs.start, inputs.end)
    for table in context.usecase.tables:
        context.data.periods("raw", table.name)  # refuses those of another length
    home = context.settings.root / "staging" / context.usecase.name
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".lock"):  # two that merge into one partition would lose what the other brings
        stagings = {
            table: Staging(home, table.name, _read_identity(table, window, context)) for table in context.usecase.tables
        }
        absent = {table.name: _stage(table, window, staging, context) for table, staging in stagings.items()}
        counts = {}
        for table, staging in stagings.items():
            with staging:
                counts[table.name] = _write(table, window, staging, absent[table.name], context)
    return Outputs(start=window.start, end=window.end, tables=counts, **vars(overdue(window, context)))


def _read_identity(table: RawTable, window: Window, context: Context) -> str:
    """The identity of a read: a later read resumes only one of the same window, watermark and source."""
    from pipelines.sources.opening import settings_of

    return f"{window} {_since(table, window, context)} {settings_of(context.params, table).model_dump_json()}"


def _stage(table: RawTable, window: Window, staging: Staging, context: Context) -> set[Period]:
    """Write what the source delivers to local disk, and return the periods for which it has nothing to read.

    Rows of a corrupt source are dropped, so that the next run starts over; if the source stops answering, they stay,
    and the next run goes on from them.

    Raises:
        CorruptData: if a source of one period brings rows of another, or pieces name their columns in two ways.
    """
    from pipelines.sources import Delivery, StaleBookmark, conform, open_source
    from pipelines.sources.conform import require_distinct

    source, since = open_source(context.params, context.usecase, table), _since(table, window, context)
    absent: set[Period] = set()
    remaining = _most_rows(table, context) - staging.rows
    try:
        for piece in source.read(Delivery(table, window, since, staging.bookmark)):
            rows = conform(piece, table, window.calendar, source.timezone)
            if piece.period is not None:
                _require_period(rows, piece.period, window.calendar, piece.origin)
            if piece.absent:
                absent |= set(window.periods if piece.period is None else [piece.period])
            staging.add(rows, piece.bookmark)
            staging.left_out += piece.rows.num_rows - rows.num_rows
            remaining -= piece.rows.num_rows
            if remaining < 0:
                raise CorruptData(
                    f"the source of {table.name} brings more than max_rows {_most_rows(table, context):.0f} rows, and "
                    "may never end; correct it, or raise max_rows"
                )
        require_distinct(sorted(staging.columns), table)
    except StaleBookmark:
        staging.clear()
        return _stage(table, window, staging, context)
    except CorruptData:
        staging.clear()
        raise
    return absent


def _most_rows(table: RawTable, context: Context) -> float:
    from pipelines.sources.opening import settings_of

    return float(getattr(settings_of(context.params, table), "max_rows", "inf"))


def _require_period(rows: pa.Table, period: Period, calendar: Calendar, origin: str) -> None:
    from pipelines.sources.partitioning import count_others

    noun, others = calendar.noun, count_others(rows, period, calendar.daily)
    if others:
        raise CorruptData(
            f"{origin} is the file of {period} and holds {others} rows of other {noun}s, which belong in their own "
            f"files; put them there or, if a file holds what changed that {noun}, set incremental for the source"
        )


def _since(table: RawTable, window: Window, context: Context) -> datetime | None:
    """The instant from which to read changes: the watermark less the overlap, or the window's start if earlier."""
    from pipelines.sources import overlap

    watermark = context.partitions.watermark(table.name)
    return None if watermark is None else min(watermark - overlap(context.params, table), window.start_at)


def _write(table: RawTable, window: Window, staging: Staging, absent: set[Period], context: Context) -> TableCounts:
    from pipelines.ingestion.staging import StagedRows
    from pipelines.ingestion.undated import set_apart, standing, within
    from pipelines.ingestion.writing import columns_of, split_by_period, write
    from pipelines.sources import is_incremental
    from pipelines.sources.conform import require_distinct
    from pipelines.usecase import partition_column

    history, calendar = context.partitions, window.calendar
    own = partition_column(calendar)
    delivered, scratch = staging.rows, context.settings.root / "staging"
    merges, undated = is_incremental(context.params, table), 0
    protected = set() if merges else _protected(table, absent, context)
    earlier_undated = standing(table, context.data, calendar)
    with StagedRows(table, own, staging.files, scratch, context.data.store, earlier_undated) as rows:
        periods = [one for one in _periods(rows, table, window, merges, context) if one not in protected]
        have = set(context.data.periods("raw", table.name)) if merges else set()
        existing = [context.data.partition("raw", table.name, one) for one in periods if one in have]
        if table.daily:  # names in existing partitions count as well
            require_distinct(
                sorted(staging.columns | columns_of(existing, context.data) | {*earlier_undated.column_names}), table
            )
        where, bounds = (f"{own} is not null", {}) if merges else within(window) if table.daily else ("true", {})
        if table.daily:
            targets = existing if merges else None
            undated = set_apart(rows, table, window, targets, context.params.validation, context.data)
        examined, newest = rows.count(existing, where, bounds), rows.newest_known()
        parts = split_by_period(rows.by_period(existing, where, bounds, merges), table, periods, calendar)
        tally = write(parts, table, context.data, history, window)
    if merges and newest is not None:  # not to the window's end, which may lie in the future
        history.move_watermark(table.name, min(window.end_at, newest))
    extra = sorted(staging.columns - {*table.columns, own})
    return _counts(tally, (delivered, staging.left_out), examined, undated, extra, protected)


def _protected(table: RawTable, absent: set[Period], context: Context) -> set[Period | None]:
    """Periods with ingested rows whose file is gone now: a missing file does not say that the rows are gone."""
    have = absent.intersection(context.data.periods("raw", table.name)) if table.daily else ()
    return {one for one in have if context.data.store.count_rows(context.data.partition("raw", table.name, one))}


def _periods(rows: StagedRows, table: RawTable, window: Window, merges: bool, context: Context) -> list[Period | None]:
    """The partitions that the delivered rows may change, in order, and every period of the window."""
    if not table.daily:
        return [None]
    if not merges:
        return [*window.periods]
    have = context.data.periods("raw", table.name)
    others = rows.periods_with_same_keys([context.data.partition("raw", table.name, one) for one in have])
    lacking = set(window.periods) - set(have)
    return [*sorted({*rows.periods(), *others, *lacking})]


def _counts(
    tally: Tally, came: tuple[int, int], examined: int, undated: int, extra: list[str], protected: set[Period | None]
) -> TableCounts:
    return TableCounts(
        rows=tally.rows,
        delivered=came[0],
        left_out=came[1],
        repeated=tally.repeated,
        superseded=examined - tally.rows - tally.repeated,
        undated=undated,
        partitions=tally.partitions,
        restated=tally.restated,
        kept=sorted(one for one in protected if one is not None),
        new_columns=extra,
    )
