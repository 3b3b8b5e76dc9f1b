"""The types that a use case may declare."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pyarrow as pa

from pipelines.errors import InvalidInput
from pipelines.usecase import RawTable

INSTANT = re.compile(r"timestamp\[(s|ms|us|ns), ?([^\]]+)\]")


def arrow_type(name: str) -> pa.DataType:
    """The type that a declaration names: Arrow's aliases, and `timestamp[us, UTC]` for instants.

    Raises:
        InvalidInput: if there is no such type, or none that a column can be cast to.
    """
    try:
        if found := INSTANT.fullmatch(name):
            ZoneInfo(found[2])
            return pa.timestamp(found[1], tz=found[2])
        kind = pa.type_for_alias(name)
        if not (pa.types.is_null(kind) or pa.types.is_interval(kind) or pa.types.is_nested(kind)):
            return kind
    except (ValueError, TypeError, KeyError, OSError):  # ZoneInfo has several
        pass
    raise InvalidInput(f"{name!r} is no type of a column; write int32, float64, string or timestamp[us, UTC]")


def declared_types(table: RawTable) -> dict[str, pa.DataType]:
    """The declared columns' types.

    Raises:
        InvalidInput: if one is no type, naming table and column.
    """
    types = {}
    for name, kind in table.columns.items():
        try:
            types[name] = arrow_type(kind)
        except InvalidInput as error:
            raise InvalidInput(f"table {table.name}, column {name}: {error}") from None
    return types
