"""The rows behind a Feast source: Parquet in the store, read by DuckDB, only the days and columns that matter.

A source named by a relative path lies in the store of the project: ROOT/PROJECT/PATH, one Parquet file a day of its
timestamp, or a single `all.parquet`. Instants are whole microseconds since 1970, in UTC.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipelines.errors import CorruptData, InvalidInput, MissingData

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from feast import FeatureView
    from feast.repo_config import RepoConfig

    from pipelines.store import Layout

ZONE_SLACK = timedelta(days=1)  # a partition's local day may begin up to a day apart from UTC's
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
AT, CREATED = "__at", "__created"  # when a row was known and when it was written
LITERALLY = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]", "'": "''"})  # in names, which DuckDB takes for patterns
LATER_IN_STORE = "file_index desc, file_row_number desc"  # of equals, the row that stands last


@dataclass(frozen=True)
class Source:
    """What Feast declares of a source, in the names that its files have.

    Attributes:
        name: ZONE/TABLE.
        stored: name in the files by declared name, where they differ.
        timestamp: declared name of the column that says when a row was known.
        created: declared name of the one that says when it was written, if any.
    """

    name: str
    stored: Mapping[str, str]
    timestamp: str
    created: str | None

    @classmethod
    def of(cls, source: Any) -> Source:
        stored = {declared: stored for stored, declared in (source.field_mapping or {}).items()}
        return cls(str(source.path), stored, source.timestamp_field, source.created_timestamp_column or None)

    def column(self, declared: str) -> str:
        """SQL of a column, by its declared name."""
        return quoted(self.stored.get(declared, declared))

    def at(self) -> str:
        """SQL of when a row was known. What is finer than a microsecond counts as known at the next."""
        return _instant(self.column(self.timestamp))

    def created_at(self) -> str:
        """SQL of when a row was written, null where that is not declared."""
        return _instant(self.column(self.created)) if self.created else "null::bigint"

    def newest_first(self) -> str:
        """SQL order in which the first row of a key is its latest.

        Of rows known at the same instant the one written last counts, before any whose writing is unknown; of those
        the one that stands last in the store: the later partition, then the later row.
        """
        return f"{self.at()} desc, {self.created_at()} desc nulls last, {LATER_IN_STORE}"


def source_of(view: FeatureView) -> Source:
    return Source.of(view.batch_source)


def keys_of(view: FeatureView) -> list[str]:
    """The join keys of a view, in order of name; none where it has no entities and Feast puts a placeholder."""
    from feast.feature_view import DUMMY_ENTITY_ID

    return sorted(key for key in view.join_keys if key != DUMMY_ENTITY_ID)


def layout_of(config: RepoConfig) -> Layout:
    from pipelines.store import Layout, Store

    return Layout(Store(config.offline_store.root), config.project)


def files_between(data: Layout, source: Source, first_at: datetime | None, last_at: datetime | None) -> list[str]:
    """The files that can hold a row known between two instants, both included; None for no bound.

    Raises:
        MissingData: if there is none, or a day between them has no partition.
    """
    zone, _, table = source.name.partition("/")
    first = (utc(first_at) - ZONE_SLACK).date() if first_at and utc(first_at) > EPOCH else None
    last = (utc(last_at) + ZONE_SLACK).date() if last_at and last_at.year < 9999 else None
    days = [day for day in data.days(zone, table) if (not first or day >= first) and (not last or day <= last)]
    single = data.partition(zone, table, None)
    if days:
        _require_no_hole(source.name, days)
        return [data.partition(zone, table, day) for day in days]
    if data.store.exists(single):
        return [single]
    raise MissingData(f"{source.name} holds nothing between {first} and {last}; build the features of those days")


def _require_no_hole(name: str, days: Sequence[date]) -> None:
    lacking = next((a + timedelta(1) for a, b in itertools.pairwise(days) if b - a > timedelta(1)), None)
    if lacking:
        raise MissingData(f"{name} lacks {lacking} among the days to be read; build the features of that day")


def latest_rows(
    config: RepoConfig,
    source: Source,
    keys: Sequence[str],
    columns: Sequence[str],
    first_at: datetime | None,
    last_at: datetime,
) -> pa.Table:
    """The latest row of every entity that was known between two instants, both included: keys, columns, AT, CREATED.

    Rows with an empty key belong to no entity. Without keys there is one row at most. Names are the declared ones.
    """
    data = layout_of(config)
    rows = parquet(files_between(data, source, first_at, last_at))
    chosen = [f"{source.column(name)} as {quoted(name)}" for name in [*keys, *columns]]
    known = [f"{source.column(key)} is not null" for key in keys]
    bounds = [f"{source.at()} >= {micros(first_at)}"] if first_at else []
    partition = f"partition by {', '.join(map(source.column, keys))}" if keys else ""
    with explained(source), connect(data) as connection:
        return connection.sql(
            f"""select {", ".join([*chosen, f"{source.at()} as {AT}", f"{source.created_at()} as {CREATED}"])}
            from {rows} where {" and ".join([*known, *bounds, f"{source.at()} <= {micros(last_at)}"])}
            qualify row_number() over ({partition} order by {source.newest_first()}) = 1
            order by {", ".join(map(quoted, keys)) or "1"}"""
        ).to_arrow_table()


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """Say of which source DuckDB complains.

    Raises:
        InvalidInput: if a declared column is not there, or not of a type that can be compared.
        CorruptData: if a file is not whole.
    """
    import duckdb

    try:
        yield
    except (duckdb.BinderException, duckdb.ConversionException, duckdb.TypeMismatchException) as error:
        raise InvalidInput(f"{source.name}: {error}; correct the declaration or the rows") from None
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise CorruptData(f"{source.name}: {error}; delete the file and build the features again") from None


@contextmanager
def connect(data: Layout) -> Iterator[DuckDBPyConnection]:
    """A DuckDB in UTC that keeps the order of rows and reaches the store, whatever file system it lies on."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("set global timezone = 'UTC'")  # for its cursors, too
        connection.execute("set preserve_insertion_order = true")
        connection.execute("set enable_external_file_cache = false")  # each file is read once
        if not data.store.local:
            connection.register_filesystem(data.store.fs)
        yield connection


def parquet(files: Sequence[str]) -> str:
    """SQL of the rows of several files, in their order; a column that some lack is null there."""
    names = ", ".join(f"'{name.translate(LITERALLY)}'" for name in files)
    return f"read_parquet([{names}], union_by_name = true)"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def micros(instant: datetime) -> int:
    """Microseconds since 1970; an instant without a zone is in UTC."""
    return (utc(instant) - EPOCH) // MICROSECOND


def utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _instant(column: str) -> str:
    nanos = f"(epoch_ns({column}) // 1000 + (epoch_ns({column}) % 1000 > 0)::bigint)"
    return f"case when typeof({column}) like '%_NS' then {nanos} else epoch_us({column}::timestamptz) end"
