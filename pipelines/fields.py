"""Types for the fields of a request model, whose JSON schema states all that they check."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_MONTHS = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = f"(?:20[0-9]{{2}}-{_MONTHS}|20(?:[02468][048]|[13579][26])-02-29)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
INSTANT = f"^{_DATE}[T ]{_TIME}{_OFFSET}$"
_INSTANT = re.compile(INSTANT)


def _instant(value: Any) -> datetime:
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise PydanticCustomError(
            "instant", "should be an instant of the years 2000 to 2099 with its offset, such as 2024-05-17T08:30:00Z"
        )
    return datetime.fromisoformat(value).astimezone(UTC)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "pattern": INSTANT, "examples": ["2024-05-17T08:30:00Z"]}),
]
"""An instant, in UTC: text that has a date of 2000 to 2099, a time and an offset. A pattern, unlike the format
`date-time`, states which; digits beyond the microsecond are dropped."""

WHOLE = BeforeValidator(_whole)
"""Marks an int that may be written 3.0, which is an integer to JSON Schema: `Annotated[int, Field(ge=1), WHOLE]`."""
