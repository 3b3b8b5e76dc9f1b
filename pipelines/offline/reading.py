"""Reading feature rows from Parquet in the store by DuckDB: only the files and columns that are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.errors import CorruptData, InvalidInput
from pipelines.instants import micros
from pipelines.offline.sources import FeatureSource, files_between, layout_of
from pipelines.quoting import parquet, quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from feast.repo_config import RepoConfig

    from pipelines.store import Layout

AT, CREATED = "__at", "__created"  # a row's knowledge time and time of writing
WIDEST = {"VARCHAR", "DOUBLE", "TIMESTAMP WITH TIME ZONE"}  # types that no other file's type can widen


@contextmanager
def connect(data: Layout, threads: int | None = None) -> Iterator[DuckDBPyConnection]:
    """A DuckDB connection in UTC that keeps the order of rows and can read the store on any file system."""
    import duckdb

    with duckdb.connect(config={"threads": threads} if threads else {}) as connection:
        connection.execute("set global timezone = 'UTC'")  # for its cursors, too
        connection.execute("set preserve_insertion_order = true")
        connection.execute("set enable_external_file_cache = false")  # each file is read once
        if not data.store.local:
            connection.register_filesystem(data.store.fs)
        yield connection


@contextmanager
def explain_errors(source: FeatureSource) -> Iterator[None]:
    """Translate DuckDB's errors about a source.

    Raises:
        InvalidInput: if a declared column is missing, or its type cannot be compared.
        CorruptData: if a file is incomplete.
    """
    import duckdb

    try:
        yield
    except (duckdb.BinderException, duckdb.ConversionException, duckdb.TypeMismatchException) as error:
        raise InvalidInput(
            f"{source.name}: {error}; run apply_features if it is declared otherwise now, or correct it or the rows"
        ) from None
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise CorruptData(f"{source.name}: {error}; delete the file and build the features again") from None


def latest_rows(
    config: RepoConfig,
    source: FeatureSource,
    keys: Sequence[str],
    columns: Sequence[str],
    first_at: datetime | None,
    last_at: datetime,
) -> pa.Table:
    """The latest row of every entity known between two instants, both included: keys, columns, AT, CREATED.

    Rows with an empty key belong to no entity. Without keys there is at most one row. Names are the declared ones.
    """
    data = layout_of(config)
    conditions = [f"{source.column(key)} is not null" for key in keys]
    bounds = [f"{source.at()} >= {micros(first_at)}"] if first_at else []
    partition = f"partition by {', '.join(map(source.column, keys))}" if keys else ""
    files = files_between(data, source, first_at, last_at)
    with explain_errors(source), connect(data) as connection:
        return read_rows(
            connection,
            source,
            files,
            {name: name for name in (*keys, *columns)},
            f"""where {" and ".join([*conditions, *bounds, f"{source.at()} <= {micros(last_at)}"])}
            qualify row_number() over ({partition} order by {source.newest_first()}) = 1
            order by {", ".join(map(quoted, keys)) or "1"}""",
        )


def read_rows(
    connection: DuckDBPyConnection,
    source: FeatureSource,
    files: Sequence[str],
    columns: Mapping[str, str],
    rest: str = "",
) -> pa.Table:
    """Columns of several files, and AT and CREATED, in the order of the files.

    Args:
        columns: declared names, by name in the result.
        rest: SQL that follows the `from` clause.
    """
    import duckdb

    expressions = [f"{source.column(declared)} as {quoted(name)}" for name, declared in columns.items()]
    expressions += [f"{source.at()} as {AT}", f"{source.created_at()} as {CREATED}"]
    select = f"select {', '.join(expressions)} from"
    if _first_is_widest(connection, source, files, columns.values()):
        with suppress(duckdb.Error):
            return connection.sql(f"{select} {parquet(files, unite=False)} {rest}").to_arrow_table()
    return connection.sql(f"{select} {parquet(files)} {rest}").to_arrow_table()


def _first_is_widest(
    connection: DuckDBPyConnection, source: FeatureSource, files: Sequence[str], columns: Iterable[str]
) -> bool:
    """Whether the types of the first file can hold the values of all files.

    DuckDB then need not open every file twice. It raises an error where a later file lacks a column.
    """
    import duckdb

    names = [*columns, source.timestamp, *([source.created] if source.created else [])]
    columns = ", ".join(quoted(source.stored.get(name, name)) for name in names)
    try:
        kinds = connection.sql(f"select {columns} from {parquet(files[:1], unite=False)} limit 0").types
    except duckdb.Error:
        return False
    return all(
        str(kind) in WIDEST or (str(kind) == "FLOAT" and name in source.floats)
        for name, kind in zip(names, kinds, strict=True)
    )
