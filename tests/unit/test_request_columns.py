"""Columns of requests are the same from client requests and from training examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from pipelines.errors import InvalidInput
from pipelines.fields import Instant
from pipelines.instants.arrow import local_times
from pipelines.offline.columns import to_frame
from pipelines.request_columns import Kind, computed, from_frame, from_requests, kinds_of, with_features
from pipelines.usecase import PREDICTED_AT
from pipelines.usecases.flights import USECASE as FLIGHTS
from tests.toy import USECASE as PUMPS

AT = datetime(2024, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))
KINDS = {"at": Kind.INSTANT, "number": Kind.NUMBER, "text": Kind.OTHER, "flag": Kind.OTHER, PREDICTED_AT: Kind.INSTANT}
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "at": INSTANTS | st.none(),
            "number": st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
            "text": st.none() | st.text(max_size=5),
            "flag": st.none() | st.booleans(),
        }
    ),
    max_size=8,
)


def test_column_types_come_from_the_request_model() -> None:
    kinds = kinds_of(FLIGHTS)
    assert {name for name, kind in kinds.items() if kind is Kind.INSTANT} == {"sched_dep_at", PREDICTED_AT}
    assert {name for name, kind in kinds.items() if kind is Kind.NUMBER} == {"flight", "scheduled_minutes", "distance"}

    class Other(BaseModel):
        a: Literal[1, 2] | None = None
        b: Literal["x", 1]
        c: bool
        d: int | str
        e: Instant | None = Field(None)

    class Typed:
        request_columns = ("a", "b", "c", "d", "e")

        def request_model(self) -> type[BaseModel]:
            return Other

    names = [kind.name for kind in kinds_of(Typed()).values()]  # type: ignore[arg-type]
    assert names == ["NUMBER", "OTHER", "OTHER", "OTHER", "INSTANT", "INSTANT"]


@given(REQUESTS)
def test_requests_and_a_frame_give_the_same_columns(requests: list[dict[str, Any]]) -> None:
    sent = from_requests(KINDS, requests, AT)
    frame = pd.DataFrame({name: pd.Series([one[name] for one in requests], dtype=object) for name in ("text", "flag")})
    frame["at"] = pd.Series(pd.to_datetime([one["at"] for one in requests], utc=True), dtype="datetime64[us, UTC]")
    frame["number"] = pd.Series([one["number"] for one in requests], dtype="float64")
    frame[PREDICTED_AT] = pd.Series([AT] * len(requests), dtype="datetime64[us, UTC]")
    read = from_frame(KINDS, frame)
    assert sent.keys() == read.keys()
    for name in sent:
        assert sent[name].dtype == read[name].dtype, name
        np.testing.assert_array_equal(sent[name], read[name])


@given(st.lists(INSTANTS | st.none(), max_size=8), st.sampled_from(["America/New_York", "Asia/Kathmandu", "UTC"]))
def test_local_times_are_in_the_zone_of_the_use_case(instants: list[datetime | None], zone: str) -> None:
    columns = from_requests({"at": Kind.INSTANT}, [{"at": one} for one in instants], AT)
    clocks = [one and one.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for one in instants]
    np.testing.assert_array_equal(local_times(columns["at"], zone), np.array(clocks, dtype="datetime64[us]"))


def test_a_number_that_no_float_holds_is_missing() -> None:
    kinds = {"n": Kind.NUMBER, PREDICTED_AT: Kind.INSTANT}
    column = from_requests(kinds, [{"n": 10**400}, {"n": None}, {"n": 2}], datetime(2024, 3, 1, tzinfo=UTC))["n"]
    np.testing.assert_array_equal(column, [np.nan, np.nan, 2.0])


def test_the_result_of_request_features_is_checked() -> None:
    class Short:
        name, request_keys = "short", ()

        def request_features(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"a": np.zeros(1)}

    with pytest.raises(InvalidInput, match=r"short gives a in the shape \(1,\).*each of the 2 requests"):
        computed(Short(), {}, 2)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"lacks the request_keys \['place'\]"):
        computed(replace(PUMPS, request_keys=("place",)), from_requests(kinds_of(PUMPS), [], AT), 0)


def test_a_frame_keeps_its_columns() -> None:
    frame = pd.DataFrame({"pump": ["1"], "read_at": [pd.Timestamp("2024-03-31T01:30:00Z")], "more": [1]})
    rows = with_features(PUMPS, frame)
    assert rows.hour.tolist() == [3] and set(rows) == {*frame, "hour"}, "summer time has begun in Berlin"


LISTS = st.none() | st.lists(st.none() | st.text(max_size=2), max_size=3)


@given(
    st.lists(LISTS, max_size=5), st.lists(st.none() | st.lists(st.none() | st.integers(-(2**60), 2**60)), max_size=4)
)
def test_lists_are_read_alike_from_requests_and_tables(texts: list[Any], numbers: list[Any]) -> None:
    """Also lists of one length, which numpy would read as a matrix, and large integers beside missing values."""
    for values, kind in ((texts, pa.string()), (numbers, pa.int64())):
        sent = from_requests({"l": Kind.LIST}, [{"l": value} for value in values], AT)["l"]
        read = from_frame({"l": Kind.LIST}, to_frame(pa.table({"l": pa.array(values, pa.list_(kind))})))["l"]
        assert sent.dtype == read.dtype == object and sent.shape == read.shape == (len(values),)
        assert sent.tolist() == read.tolist() == values


def test_every_sequence_counts_as_a_list_and_text_does_not() -> None:
    class Other(BaseModel):
        a: list[str] | None = None
        b: tuple[int, ...]
        c: list[Literal[1, 2]]
        d: frozenset[str]

    class Typed:
        request_columns = ("a", "b", "c", "d")

        def request_model(self) -> type[BaseModel]:
            return Other

    kinds = kinds_of(Typed())  # type: ignore[arg-type]
    assert [kinds[name] for name in "abcd"] == [*[Kind.LIST] * 3, Kind.OTHER], "the order of a set is undefined"
    assert from_requests({"b": Kind.LIST}, [{"b": (1, 2)}], AT)["b"].tolist() == [[1, 2]]
    pandas = pd.DataFrame({"b": [np.array([1, 2]), np.nan]})
    assert from_frame({"b": Kind.LIST}, pandas)["b"].tolist() == [[1, 2], None]
    with pytest.raises(InvalidInput, match="'1, 2' is no list, which the request model declares"):
        from_frame({"b": Kind.LIST}, pd.DataFrame({"b": ["1, 2"]}))
