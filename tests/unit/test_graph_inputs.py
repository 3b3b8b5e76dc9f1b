"""A category has one spelling: training and the model server feed a graph the same text, whatever its type."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import ValueType
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.scorer import model_arrays
from pipelines.errors import InvalidInput
from pipelines.features.parity import compare
from pipelines.graph_inputs import WHOLE, number_column, spelling, string_column
from pipelines.offline.columns import to_frame
from pipelines.online.codec import decode_value, encode_column
from pipelines.usecase import ModelInputs
from tests.examples import costly

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2024, 3, 1)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((2, 2.0, np.int8(2), np.uint64(2), np.float32(2), Decimal("2.00"), "2"), "2"),
        ((-0.0, 0, "0"), "0"),
        ((2.5, np.float64(2.5), np.float16(2.5), Decimal("2.50")), "2.5"),
        ((WHOLE + 1, np.int64(WHOLE + 1), Decimal(WHOLE + 1)), "9007199254740993"),
        ((True, np.True_), "True"),
        (("2.0",), "2.0"),
        (("",), ""),
        (("nan",), "nan"),
        ((DAY, datetime(2024, 3, 1), np.datetime64("2024-03-01"), pd.Timestamp(DAY)), "2024-03-01"),
        (
            (datetime(2024, 3, 1, 9, tzinfo=BERLIN), datetime(2024, 3, 1, 8), pd.Timestamp("2024-03-01 08:00:00.5")),
            "2024-03-01T08:00:00+00:00",
        ),
        ((None, float("nan"), np.float32("inf"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN")), None),
    ],
)  # fmt: skip
def test_equal_values_have_the_same_spelling(values: tuple[Any, ...], text: str | None) -> None:
    assert [spelling(value) for value in values] == [text] * len(values)


@pytest.mark.parametrize("value", [float(WHOLE), -1e300, np.float64(WHOLE)])
def test_whole_floats_that_may_have_lost_digits_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"model_no: the category .* declare the column as text"):
        spelling(value, "model_no")


@pytest.mark.parametrize("value", [b"x", [1], {"a": 1}, object()])
def test_values_without_a_spelling_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"model_no: .* is not a category"):
        string_column([value], "model_no")


def whole(bits: int, signed: bool = True) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


def real(width: Any) -> st.SearchStrategy[float]:
    return st.floats(width=width).filter(lambda x: not (abs(x) >= WHOLE and np.isfinite(x)))


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
NAIVE = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
INSTANTS = st.one_of(
    NAIVE, st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(lambda d: datetime(d.year, d.month, d.day))
)
STORED: list[tuple[pa.DataType, st.SearchStrategy[Any], str]] = [
    *((pa.int8(), whole(8), kind) for kind in ("INT32", "INT64", "STRING")),
    *((pa.int16(), whole(16), kind) for kind in ("INT32", "INT64")),
    *((pa.int32(), whole(32), kind) for kind in ("INT32", "INT64")),
    *((pa.int64(), whole(64), kind) for kind in ("INT64", "STRING")),
    (pa.uint8(), whole(8, False), "INT32"),
    (pa.uint16(), whole(16, False), "INT64"),
    (pa.uint32(), whole(32, False), "INT64"),
    (pa.float16(), real(16), "DOUBLE"),
    (pa.float32(), real(32), "FLOAT"),
    (pa.float32(), real(32), "DOUBLE"),
    (pa.float64(), real(64), "DOUBLE"),
    (pa.float64(), real(64), "STRING"),
    (pa.bool_(), st.booleans(), "BOOL"),
    (pa.bool_(), st.booleans(), "STRING"),
    (pa.string(), TEXTS, "STRING"),
    (pa.large_string(), TEXTS, "STRING"),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "2.0", "nan"]), "STRING"),
    (pa.decimal128(9, 2), st.decimals(-1_000_000, 1_000_000, places=2), "STRING"),
    (pa.date32(), st.dates(date(1900, 1, 1), date(2100, 1, 1)), "STRING"),
    (pa.date32(), st.dates(date(1900, 1, 1), date(2100, 1, 1)), "UNIX_TIMESTAMP"),
    *((pa.timestamp("us", zone), INSTANTS, "UNIX_TIMESTAMP") for zone in (None, "UTC", "Asia/Kolkata")),
    (pa.timestamp("us", "UTC"), INSTANTS, "STRING"),
    (pa.timestamp("s"), INSTANTS.map(lambda at: at.replace(microsecond=0)), "UNIX_TIMESTAMP"),
]


@pytest.mark.hypothesis
@pytest.mark.parametrize(
    ("stored", "values", "declared"), STORED, ids=[f"{stored}-{kind}" for stored, _, kind in STORED]
)
def test_training_and_server_spell_alike(stored: pa.DataType, values: Any, declared: str) -> None:
    @costly()
    @given(st.lists(st.none() | values, min_size=1, max_size=8))
    def same(cells: list[Any]) -> None:
        column = pa.chunked_array([pa.array(cells, stored)])
        inputs = ModelInputs((), ("x",))
        trained = model_arrays(to_frame(pa.table({"x": column})), inputs)[1][:, 0]
        encoded, _ = encode_column(column, ValueType[declared])
        served = string_column([decode_value(value) for value in encoded], "x")
        assert trained.tolist() == served.tolist()
        batches = [to_frame(pa.table({"x": column.slice(n, 1)})) for n in range(len(column))]
        alone = [model_arrays(one, inputs)[1][0, 0] for one in batches]
        assert trained.tolist() == alone, "the same alone and in a batch"

    same()


def test_whole_numbers_with_missing_values_keep_their_digits() -> None:
    frame = to_frame(pa.table({"x": pa.array([2**62 + 1, None]), "y": pa.array([1, None])}))
    assert string_column(frame["x"], "x").tolist() == ["4611686018427387905", ""]
    assert frame["y"].dtype == np.float64, "pandas holds them as floats where no digit is lost"


def test_numeric_inputs_accept_numbers_and_no_text() -> None:
    assert number_column([1, True, None, float("inf"), Decimal("0.5")], "x").tolist()[:2] == [1, 1]
    assert np.isnan(number_column([None, pd.NA, float("inf"), 1e300], "x")).all()
    for values in (["1"], pd.Series(["1"], dtype="string")):
        with pytest.raises(InvalidInput, match="input x is not a number"):
            number_column(values, "x")


def parity(online: list[Any], offline: list[Any], **inputs: tuple[str, ...]) -> list[str]:
    models = [ModelInputs(inputs.get("numeric", ()), inputs.get("categorical", ()))]
    entities = pd.DataFrame({"pump": [str(n) for n in range(len(online))]})
    read, built = (pd.DataFrame({"x": pd.Series(values, dtype=object)}) for values in (online, offline))
    return compare("heat", entities, read, built, models)


def test_parity_compares_values_as_a_graph_is_fed() -> None:
    assert parity([2, "a", None, True], [2.0, "a", float("nan"), True], categorical=("x",)) == []
    assert parity([2, 0.1, None], [2.0, np.float32(0.1), float("nan")], numeric=("x",)) == []
    assert len(parity(["2", "2.0", ""], ["2.0", 2, "x"], categorical=("x",))) == 3
    assert len(parity([2, 1.0, 0], [3, None, float("nan")], numeric=("x",))) == 3
    (difference,) = parity(["1"], [1])
    assert difference == "heat of {'pump': '0'}: x is '1' online, 1 offline", (
        "values that no model reads are compared as they are"
    )
    assert parity([1, True], [True, "True"]) and parity([1, [1, 2]], [1.0, np.array([1, 2])]) == []


def test_an_instant_is_a_day_in_utc_only() -> None:
    assert spelling(datetime(2024, 3, 1, 0, tzinfo=BERLIN)) == "2024-02-29T23:00:00+00:00"
    assert spelling(datetime(2024, 3, 1, tzinfo=UTC)) == "2024-03-01"
