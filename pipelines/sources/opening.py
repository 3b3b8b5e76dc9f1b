"""The source that params.yaml chooses for a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.closed import Closed, closed_of
from pipelines.errors import InvalidInput
from pipelines.params import Params
from pipelines.params.source import Bundled, Files, Http, Sql
from pipelines.sources.conform import conform
from pipelines.sources.shaping import ShapedSource
from pipelines.sources.source import Delivery, Piece, Reading, Source
from pipelines.usecase import RawTable, UseCase, partition_column
from pipelines.windows import Window


class BundledSource:
    """The data that come with the use case."""

    timezone = "UTC"

    def __init__(self, usecase: UseCase) -> None:
        self.usecase = usecase

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        for rows in self.usecase.read(delivery.table, delivery.window):
            yield Piece(rows)

    @property
    def files(self) -> list[Path]:
        """The files that the use case says it reads (`bundled_files`); none by default."""
        return list(getattr(self.usecase, "bundled_files", tuple)())


def settings_of(params: Params, table: RawTable) -> Bundled | Files | Sql | Http:
    """The table's own section under `sources`, else `source`."""
    return params.sources.get(table.name, params.source)


def is_incremental(params: Params, table: RawTable) -> bool:
    """Whether the source delivers changes, which are merged, rather than all rows of the periods, which replace.

    Raises:
        InvalidInput: if it does, and no column says which of two records of a key is newer.
    """
    settings = settings_of(params, table)
    if isinstance(settings, Bundled) or not settings.incremental or not table.daily:
        return False
    if table.known is None:
        raise InvalidInput(
            f"the source of {table.name} is incremental, and the use case names no column `known` that says which of "
            "two records is newer; declare it, or set incremental to false"
        )
    return True


def overlap(params: Params, table: RawTable) -> timedelta:
    """How far before its watermark the read of an incremental source starts."""
    settings = settings_of(params, table)
    return timedelta(hours=settings.overlap_hours) if isinstance(settings, Sql | Http) else timedelta(0)


def open_source(params: Params, usecase: UseCase, table: RawTable) -> Source:
    """The source of a table."""
    settings = settings_of(params, table)
    if isinstance(settings, Bundled):
        return BundledSource(usecase)
    zone = settings.timezone or usecase.timezone
    reading = Reading(settings.timestamp_format, where=settings.where, ambiguous=settings.ambiguous)
    if isinstance(settings, Files):
        reading = replace(reading, decimal=settings.decimal, thousands=settings.thousands)
    return ShapedSource(_open(settings, zone, closed_of(usecase)), settings, reading)


def _open(settings: Files | Sql | Http, zone: str, closed: Closed) -> Source:
    if isinstance(settings, Files):
        from pipelines.sources.files import FileSource

        return FileSource(settings, zone, closed)
    if isinstance(settings, Sql):
        from pipelines.sources.sql import SqlSource

        return SqlSource(settings, zone)
    from pipelines.sources.http import HttpSource

    return HttpSource(settings, zone)


def read_window(params: Params, usecase: UseCase, table: RawTable, window: Window) -> pa.Table:
    """All rows of a window (of a reference table, all rows) in memory, in the declared types, with their partition."""
    source = open_source(params, usecase, table)
    rows = pa.concat_tables(
        [
            conform(piece, table, window.calendar, source.timezone)
            for piece in source.read(Delivery(table, window, window.start_at))
        ],
        promote_options="permissive",
    )
    if not table.daily:
        return rows
    periods = rows[partition_column(window.calendar)]
    first, end = (pa.scalar(period, periods.type) for period in (window.start, window.end))
    return rows.filter(pc.and_(pc.greater_equal(periods, first), pc.less(periods, end)))
