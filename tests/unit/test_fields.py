"""Fields of request models: the pattern of an instant matches exactly the texts that are accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from pipelines.fields import INSTANT, WHOLE, Instant

ADAPTER: TypeAdapter[datetime] = TypeAdapter(Instant)
WHOLES: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(strict=True, ge=1, le=9), WHOLE])
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.from_regex(INSTANT, fullmatch=True))
def test_every_text_that_fits_the_pattern_is_an_instant(text: str) -> None:
    read = ADAPTER.validate_python(text)
    assert read.tzinfo is UTC and timedelta(0) <= read - datetime(1999, 12, 31, tzinfo=UTC) <= timedelta(days=36527)
    assert ADAPTER.dump_python(read, mode="json").endswith("Z")


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31, 23, 59, 59, 999999)), OFFSETS)
def test_every_instant_of_the_century_has_its_text(at: datetime, offset: timezone) -> None:
    written = at.replace(tzinfo=offset)
    assert ADAPTER.validate_python(written.isoformat()) == written


@pytest.mark.parametrize(
    "text",
    [
        "2013-02-29T00:00:00Z",
        "2013-04-31T00:00:00Z",
        "2013-13-01T00:00:00Z",
        "2013-01-01T24:00:00Z",
        "2013-01-01T23:59:60Z",
        "2013-01-01T00:00:00",
        "2013-01-01",
        "1999-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        "2013-01-01T00:00:00Z\n",
        "2013-01-01T00:00:00+24:00",
        "\u0662013-01-01T00:00:00Z",
        "",
        1357000000,
        None,
    ],
)
def test_invalid_instants_are_refused(text: object) -> None:
    with pytest.raises(ValidationError, match="should be an instant of the years 2000 to 2099 with its offset"):
        ADAPTER.validate_python(text)


def test_digits_beyond_microseconds_are_dropped() -> None:
    assert ADAPTER.validate_python("2013-01-01T00:00:00.123456999Z").microsecond == 123456


def test_a_whole_number_may_have_a_decimal_point() -> None:
    assert WHOLES.validate_json("3.0") == WHOLES.validate_json("3") == 3
    for other in ("3.5", '"3"', "true", "1e300", "10.0"):
        with pytest.raises(ValidationError):
            WHOLES.validate_json(other)
