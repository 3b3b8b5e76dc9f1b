"""A source's rows in the table's own names and spelling: what `rename`, `leave_out`, formats and `where` ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CorruptData, InvalidInput
from pipelines.instants import arrow as instants
from pipelines.params.source import Http, Shaped
from pipelines.sources.arrow_values import excerpt, plain
from pipelines.sources.casting import NOT_FINITE, Unfit
from pipelines.sources.source import Delivery, Piece, Reading, Source
from pipelines.usecase import RawTable


class ShapedSource:
    """A source whose columns have other names than the table's, or which has more rows or columns.

    The source itself is asked for the table by its own names, so that it can select by them.
    """

    def __init__(self, source: Source, settings: Shaped, reading: Reading) -> None:
        self.source, self.settings, self.reading = source, settings, reading
        self.timezone = source.timezone

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        names = self.settings.rename
        theirs = replace(delivery, table=in_names_of_source(delivery.table, names))
        for piece in self.source.read(theirs):
            self._require_columns(piece, delivery.table)
            rows = piece.rows.drop_columns([one for one in self.settings.leave_out if one in piece.rows.column_names])
            rows = rows.rename_columns([names.get(name, name) for name in rows.column_names])
            yield replace(piece, rows=rows, reading=self.reading)

    def _require_columns(self, piece: Piece, table: RawTable) -> None:
        """Refuse a column to leave out that is not there. Records of an API need not have every column."""
        lacking = [name for name in self.settings.leave_out if name not in piece.rows.column_names]
        if lacking and not piece.absent and not isinstance(self.settings, Http):
            found = ", ".join(piece.rows.column_names)
            raise CorruptData(
                f"table {table.name}: leave_out names {lacking[0]}, and the source has only {found:.200}; correct it"
            )


def in_names_of_source(table: RawTable, names: dict[str, str]) -> RawTable:
    """The table as its source names its columns.

    Args:
        names: declared names by the source's own.
    """
    own = {declared: name for name, declared in names.items()}
    return replace(
        table,
        key=tuple(own.get(name, name) for name in table.key),
        columns={own.get(name, name): kind for name, kind in table.columns.items()},
        day=own.get(table.day, table.day) if table.day else None,
        known=own.get(table.known, table.known) if table.known else None,
    )


def spelled(column: pa.ChunkedArray, target: pa.DataType, piece: Piece) -> pa.ChunkedArray:
    """Text in the source's spelling of numbers and instants, as the cast reads it; any other column as it is.

    Raises:
        Unfit: naming the first value that is spelt otherwise.
    """
    reading = piece.reading
    if reading == Reading(where=reading.where) or not pa.types.is_string((text := plain(column)).type):
        return column
    if (pa.types.is_timestamp(target) or pa.types.is_date(target)) and reading.formats:
        return _stamped(text, reading.formats, piece.nulls or ())
    is_number = pa.types.is_integer(target) or pa.types.is_floating(target) or pa.types.is_decimal(target)
    if is_number and piece.nulls is not None and (reading.decimal, reading.thousands) != (".", ""):
        return _with_point(text, reading, piece.nulls)
    return column


def _with_point(text: pa.ChunkedArray, reading: Reading, nulls: tuple[str, ...]) -> pa.ChunkedArray:
    """Numbers with a point and without separators of thousands."""
    point, group = re.escape(reading.decimal), re.escape(reading.thousands)
    whole = rf"\d{{1,3}}(?:{group}\d{{3}})+|\d+" if reading.thousands else r"\d+"
    trimmed = pc.utf8_trim_whitespace(text)
    fits = pc.match_substring_regex(trimmed, rf"^[+-]?(?:(?:{whole})(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$")
    other = pc.or_(pc.is_in(trimmed, pa.array(["", *nulls])), pc.match_substring_regex(trimmed, NOT_FINITE))
    _require(pc.or_(fits, other), text, f"no number with {reading.decimal!r} before its fraction")
    plain_text = pc.replace_substring(trimmed, reading.thousands, "") if reading.thousands else trimmed
    return pc.if_else(fits, pc.replace_substring(plain_text, reading.decimal, "."), trimmed)


def _stamped(text: pa.ChunkedArray, formats: tuple[str, ...], nulls: tuple[str, ...]) -> pa.ChunkedArray:
    """Text as instants by the first format that fits; without an offset they are local times."""
    import duckdb

    trimmed = pc.utf8_trim_whitespace(text)
    words = pc.if_else(pc.is_in(trimmed, pa.array(["", *nulls])), None, trimmed)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("cells", pa.table({"word": words}))
        parsed = connection.sql(
            "select try_strptime(word, ?) as at from cells", params=[list(formats)]
        ).to_arrow_table()
    column = parsed["at"].cast(instants.INSTANT if parsed["at"].type.tz else pa.timestamp("us"))
    _require(pc.or_(pc.is_null(words), pc.is_valid(column)), text, f"not of the form {' or '.join(formats)}")
    return column


def _require(fits: pa.ChunkedArray, text: pa.ChunkedArray, why: str) -> None:
    row = pc.index(pc.fill_null(fits, True), False).as_py()
    if row >= 0:
        raise Unfit(f"{text.type} (such as {excerpt(text[row])})", why, row)


def matching(rows: pa.Table, where: str, table: RawTable) -> pa.Table:
    """The rows for which a condition is true, in SQL over columns in their declared types.

    Raises:
        InvalidInput: if it is no condition on these columns.
    """
    import duckdb

    if not where:
        return rows
    with duckdb.connect(config={"threads": 1, "enable_external_access": False}) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("rows", rows)
        try:
            kept = connection.sql(f"select ({where}) as kept from rows").to_arrow_table()
        except duckdb.Error as error:
            raise InvalidInput(
                f"where of the source of {table.name}: {where!r} is no condition on its columns "
                f"({' '.join(str(error).split())[:200]}); correct it: columns are {', '.join(rows.column_names):.200}"
            ) from None
    if not (pa.types.is_boolean(kept["kept"].type) or pa.types.is_null(kept["kept"].type)):
        raise InvalidInput(
            f"where of the source of {table.name}: {where!r} is {kept['kept'].type}, neither true nor false; compare it"
        )
    if kept.num_rows != rows.num_rows:
        raise InvalidInput(f"where of the source of {table.name}: {where!r} does not judge each row alone; correct it")
    return rows.filter(kept["kept"])  # null is not true
