"""The types that a use case may declare."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pyarrow as pa

from pipelines.errors import InvalidInput
from pipelines.usecase import INSTANT, RawTable


def arrow_type(name: str) -> pa.DataType:
    """The type that a declaration names: Arrow's aliases, and `timestamp[us, UTC]` for instants.

    Raises:
        InvalidInput: if there is no such type, or a column cannot be cast to it.
    """
    try:
        if instant := INSTANT.fullmatch(name):
            ZoneInfo(instant[2])
            return pa.timestamp(instant[1], tz=instant[2])
        kind = pa.type_for_alias(name)
        if not (pa.types.is_null(kind) or pa.types.is_interval(kind) or pa.types.is_nested(kind)):
            return kind
    except (ValueError, TypeError, KeyError, OSError):  # ZoneInfo has several
        pass
    raise InvalidInput(f"{name!r} is not a column type; write int32, float64, string or timestamp[us, UTC]")


def declared_types(table: RawTable) -> dict[str, pa.DataType]:
    """The types of the declared columns.

    Raises:
        InvalidInput: if one is not a type, naming table and column.
    """
    types = {}
    for name, kind in table.columns.items():
        try:
            types[name] = arrow_type(kind)
        except InvalidInput as error:
            raise InvalidInput(f"table {table.name}, column {name}: {error}") from None
    return types
