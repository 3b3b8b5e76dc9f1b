"""The quarantine masks against Great Expectations itself."""

from __future__ import annotations

import math
from typing import Any

import great_expectations.expectations as gxe
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.validation.masks import MASKS, bad_rows
from pipelines.validation.suite import batch_frame, checks_of, evaluate
from tests.examples import costly

QUARANTINE = {"severity": "quarantine", "reason": "bad"}
numbers = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 2.5, math.nan]), st.floats(-3, 3))
texts = st.sampled_from(["a", "b", "ab", "", None])
instants = st.sampled_from([pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-02", tz="UTC"), pd.NaT])
rows = st.lists(st.tuples(numbers, numbers, texts, instants, instants, st.integers(0, 4)), min_size=1, max_size=12)


def frame_of(values: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=["x", "y", "s", "t", "u", "k"])
    for name in ("t", "u"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype({"x": "float64", "y": "float64", "s": "object", "k": "int64"})


def every_kind() -> list[Any]:
    pair = {"column_A": "x", "column_B": "y", "meta": QUARANTINE}
    return [
        gxe.ExpectColumnValuesToNotBeNull(column="s", meta=QUARANTINE),
        gxe.ExpectColumnValuesToNotBeNull(column="x", meta=QUARANTINE, mostly=0.5),
        gxe.ExpectColumnValuesToBeBetween(column="x", min_value=0, max_value=2, meta=QUARANTINE),
        gxe.ExpectColumnValuesToBeBetween(column="x", min_value=0, strict_min=True, meta=QUARANTINE),
        gxe.ExpectColumnValuesToBeBetween(column="k", max_value=2, strict_max=True, meta=QUARANTINE),
        gxe.ExpectColumnValuesToBeBetween(column="t", min_value="2020-01-02T00:00:00+00:00", meta=QUARANTINE),
        gxe.ExpectColumnValuesToBeInSet(column="s", value_set=["a", "b"], meta=QUARANTINE),
        gxe.ExpectColumnValuesToBeInSet(column="x", value_set=[0, 1, 2], meta=QUARANTINE),
        gxe.ExpectColumnValuesToMatchRegex(column="s", regex="^a", meta=QUARANTINE),
        gxe.ExpectColumnValueLengthsToBeBetween(column="s", min_value=1, max_value=1, meta=QUARANTINE),
        gxe.ExpectColumnValueLengthsToBeBetween(column="s", max_value=1, strict_max=True, meta=QUARANTINE),
        gxe.ExpectColumnValueLengthsToBeBetween(column="s", min_value=1, strict_min=True, meta=QUARANTINE),
        gxe.ExpectColumnValuesToBeUnique(column="x", meta=QUARANTINE),
        gxe.ExpectColumnValuesToBeUnique(column="s", meta=QUARANTINE),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["x", "s"], meta=QUARANTINE),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["x", "s"], ignore_row_if="any_value_is_missing", meta=QUARANTINE
        ),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["x", "s"], ignore_row_if="never", meta=QUARANTINE),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(**pair),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(or_equal=True, **pair),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(ignore_row_if="either_value_is_missing", **pair),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(ignore_row_if="neither", or_equal=True, **pair),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="t", column_B="u", or_equal=True, meta=QUARANTINE),
    ]


def test_every_mask_has_a_case_here() -> None:
    assert {expectation.configuration.type for expectation in every_kind()} == set(MASKS)


@costly()
@given(rows)
def test_masks_find_as_many_bad_rows_as_great_expectations(values: list[tuple[Any, ...]]) -> None:
    frame = frame_of(values)
    for result in evaluate(frame, checks_of("table", every_kind())):
        assert result.error is None, (result.check.title, result.error)
        mask = bad_rows(frame, result.check.expectation)
        assert mask.sum() == result.observed["unexpected_count"], result.check.title


def test_a_pair_with_one_missing_side_is_bad_and_with_two_is_not() -> None:
    frame = pd.DataFrame({"a": [2.0, math.nan, 1.0, math.nan], "b": [1.0, 1.0, math.nan, math.nan]})
    mask = bad_rows(frame, gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="a", column_B="b"))
    assert mask.tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        (gxe.ExpectColumnMeanToBeBetween(column="x", min_value=0, meta=QUARANTINE), "cannot quarantine rows"),
        (gxe.ExpectColumnValuesToNotBeNull(column="x", meta={"severity": "fatal"}), "severity 'fatal'"),
        (
            gxe.ExpectColumnValuesToNotBeNull(column="x", meta={**QUARANTINE, "reason": "a,b"}),
            "code without one",
        ),
    ],
)
def test_an_unusable_declaration_is_refused(expectation: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        checks_of("table", [expectation])


def test_a_row_condition_has_no_mask() -> None:
    check = gxe.ExpectColumnValuesToNotBeNull(column="x", meta=QUARANTINE)
    object.__setattr__(check, "row_condition", "y > 1")
    with pytest.raises(InvalidInput, match="row_condition"):
        checks_of("table", [check])


def test_the_batch_has_types_that_great_expectations_vectorises() -> None:
    import pyarrow as pa

    table = pa.table(
        {
            "f": pa.array([1.0, None], pa.float32()),
            "i": pa.array([1, 2], pa.int16()),
            "t": pa.array([0, None], pa.timestamp("us")),
            "b": pa.array([True, False]),
        }
    )
    assert [str(dtype) for dtype in batch_frame(table).dtypes] == ["float64", "int64", "datetime64[ns]", "bool"]


def test_the_batch_has_the_same_types_whatever_pandas_wrote_beside_it() -> None:
    import pyarrow as pa

    table = pa.table({"i": pa.array([1, None], pa.int32()), "s": ["a", None]})
    noted = pa.Table.from_pandas(table.to_pandas(types_mapper=pd.ArrowDtype).set_index("s"))
    assert noted.schema.metadata
    pd.testing.assert_frame_equal(batch_frame(noted)[["i", "s"]], batch_frame(table))
