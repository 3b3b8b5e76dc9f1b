"""Casts from source types to declared types: the table of docs/sources.md, row by row, and further cases."""

from __future__ import annotations

import operator
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipelines.errors import CorruptData, InvalidInput
from pipelines.instants import Ambiguous, read_from
from pipelines.instants import arrow as instants
from pipelines.sources.arrow_values import text
from pipelines.sources.casting import Unfit, cast
from pipelines.sources.types import arrow_type, declared_types
from pipelines.sources.values import column_of
from pipelines.usecase import RawTable
from tests.conftest import ROOT

CELLS = ("",)
BERLIN = "Europe/Berlin"
MADE: dict[str, Any] = {
    "cell": str,
    "text": str,
    "whole number": int,
    "float": float,
    "decimal": Decimal,
    "bool": lambda word: word == "true",
    "bytes": str.encode,
    "UUID": UUID,
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
}
Row = tuple[str, str, str, str | None]


def documented_examples() -> list[Row]:
    """(declared type, source type, example, result or None) of every example in the documentation."""
    rows: list[Row] = []
    for line in (ROOT / "docs" / "sources.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and cells[1] in MADE:
            examples = _words(cells[2])
            become = [None] * len(examples) if cells[3] == "refused" else _words(cells[3])
            rows += [(cells[0].strip("`"), cells[1], *both) for both in zip(examples, become, strict=True)]
    return rows


def _words(cell: str) -> list[str]:
    return [match[1] or "missing" for match in re.finditer(r"`([^`]+)`|missing", cell)]


ROWS = documented_examples()


def cast_to_text(
    values: Any, wanted: str, nulls: tuple[str, ...] | None = None, zone: str = BERLIN
) -> list[str | None]:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    result = cast(pa.chunked_array([column]), arrow_type(wanted), zone, nulls)
    assert not pa.types.is_floating(result.type) or not pc.any(pc.is_nan(result)).as_py(), "NaN is missing"
    values_as_text: list[str | None] = text(result).to_pylist()
    return values_as_text


def test_the_documentation_has_every_type_and_every_kind_of_value() -> None:
    assert len(ROWS) > 90
    assert {row[1] for row in ROWS} == {*MADE}
    assert {row[0] for row in ROWS} == {"int64", "int32", "float64", "float32", "bool", "string", "date32"} | {
        "timestamp[us, UTC]"
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(str(part) for part in row))
def test_the_table_of_the_documentation_holds(row: Row) -> None:
    wanted, kind, value, becomes = row
    nulls = CELLS if kind == "cell" else None
    if becomes is None:
        with pytest.raises(Unfit, match=re.escape(value) if kind in ("cell", "text") else "such as"):
            cast_to_text([MADE[kind](value)], wanted, nulls)
    else:
        assert cast_to_text([MADE[kind](value)], wanted, nulls) == [None if becomes == "missing" else becomes]
        beside = cast_to_text([MADE[kind](value), None], wanted, nulls)
        assert beside[1] is None, "a missing value in the same column stays missing"


@pytest.mark.parametrize("row", [row for row in ROWS if row[1] not in ("cell", "UUID", "bytes")], ids=str)
def test_values_of_json_and_databases_are_cast_alike(row: Row) -> None:
    wanted, kind, value, becomes = row
    table = RawTable("visits", ("id",), {"x": wanted})

    def conformed() -> list[str | None]:
        column = column_of("x", [MADE[kind](value)], table, "here")
        texts: list[str | None] = text(cast(pa.chunked_array([column]), arrow_type(wanted), BERLIN)).to_pylist()
        return texts

    if becomes is None:
        with pytest.raises((Unfit, CorruptData)):
            conformed()
    else:
        assert conformed() == [None if becomes == "missing" else becomes]


def test_the_first_value_that_does_not_fit_is_named_wherever_it_stands() -> None:
    for place in (0, 1, 499, 998, 999):
        cells = [str(number) for number in range(1000)]
        cells[place] = "bad"
        with pytest.raises(Unfit, match="such as 'bad'"):
            cast_to_text([*cells, "worse"], "int64", CELLS)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
@example([2**53 + 1, 2**63 - 1, -(2**63)])
def test_whole_numbers_are_exact_in_every_notation(numbers: list[int]) -> None:
    want = [str(number) for number in numbers]
    assert cast_to_text(pa.array(numbers, pa.int64()), "int64") == want
    for write in ("{}", "{}.0", "{}.", "{:+}", " {} ", "{}e0"):
        assert cast_to_text([write.format(number) for number in numbers], "int64", CELLS) == want
    assert cast_to_text([Decimal(number) for number in numbers], "int64") == want


@given(st.lists(st.floats(), min_size=1))
def test_floats_are_the_same_from_cells_decimals_and_floats(numbers: list[float]) -> None:
    want = cast_to_text(pa.array(numbers, pa.float64()), "float64")
    assert cast_to_text([repr(number) for number in numbers], "float64", CELLS) == want
    table = RawTable("visits", ("id",), {"x": "float64"})
    column = column_of("x", [Decimal(repr(number)) for number in numbers], table, "here")
    assert text(pa.chunked_array([column])).to_pylist() == want


NUMBERS = st.one_of(
    st.integers(-(2**80), 2**80), st.floats(allow_nan=False), st.decimals(allow_nan=False, allow_infinity=False)
)


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.sampled_from(["int64", "float64", "uint64"]))
def test_numbers_of_several_types_are_cast_one_by_one(numbers: list[Any], wanted: str) -> None:
    """A column holds what its values would be alone, or is refused if one of them would be."""
    table = RawTable("visits", ("id",), {"x": wanted})

    def cast_values(values: list[Any]) -> list[Any] | None:
        try:
            column = column_of("x", values, table, "here")
            return list(cast(pa.chunked_array([column]), arrow_type(wanted), BERLIN).to_pylist())
        except (Unfit, CorruptData):
            return None

    alone = [cast_values([number]) for number in numbers]
    together = cast_values(numbers)
    assert together == (None if None in alone else [one[0] for one in alone if one is not None])


@given(
    st.lists(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 30)), min_size=1, max_size=20),
    st.sampled_from(["America/New_York", "Australia/Lord_Howe", BERLIN, "Asia/Kathmandu", "Africa/Casablanca"]),
)
@example([datetime(1965, 5, 31, 22, 59, 59, 500_000), datetime(2050, 7, 1, 4, 30)], "America/New_York")
def test_local_days_are_those_of_the_zone_in_any_year(times: list[datetime], zone: str) -> None:
    at = [time.replace(tzinfo=UTC) for time in times]
    column = pa.chunked_array([pa.array(at, pa.timestamp("us", "UTC"))])
    days = [time.astimezone(ZoneInfo(zone)).date() for time in at]
    assert instants.local_day(column, zone).to_pylist() == days
    local = [time.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) for time in at]
    plain = [(one, time) for one, time in zip(local, at, strict=True) if _is_one(one, zone)]
    naive = pa.chunked_array([pa.array([one for one, _ in plain], pa.timestamp("us"))])
    assert instants.convert(naive, pa.timestamp("us", "UTC"), zone).to_pylist() == [time for _, time in plain]


def _is_one(local: datetime, zone: str) -> bool:
    first = local.replace(tzinfo=ZoneInfo(zone))
    return first.utcoffset() == first.replace(fold=1).utcoffset()


@given(st.integers(-(2**62), 2**62), st.sampled_from(["s", "ms", "us"]))
def test_instants_finer_than_the_declared_unit_are_rounded_down(nanos: int, unit: str) -> None:
    column = pa.array([nanos], pa.int64()).cast(pa.timestamp("ns", "UTC"))
    times = cast(pa.chunked_array([column]), pa.timestamp(unit, "UTC"), "UTC")
    assert times.cast(pa.int64()).to_pylist() == [nanos // (10**9 // instants.PER_SECOND[unit])]
    words = pc.cast(column.cast(pa.timestamp("ns")), pa.string())
    assert cast(pa.chunked_array([words]), pa.timestamp(unit, "UTC"), "UTC").equals(times), (
        "text gives the same instants"
    )


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York"])
@pytest.mark.parametrize("year", [2024, 2060])
def test_ambiguous_and_nonexistent_local_times_are_refused_in_any_year(year: int, zone: str) -> None:
    wrong = []
    for hour in range(366 * 24):
        local = datetime(year, 1, 1, 0, 30) + timedelta(hours=hour)
        if not _is_one(local, zone):
            wrong.append(local)
    assert len(wrong) == 2
    for local in wrong:
        with pytest.raises(Unfit, match=r"doesn't exist|is ambiguous"):
            cast_to_text([local], "timestamp[us, UTC]", zone=zone)


# --- Arrow's types

SOME: list[tuple[pa.Array, str, list[str]]] = [
    (pa.array(["a"], pa.string_view()), "string", ["a"]),
    (pa.array(["a"], pa.large_string()), "string", ["a"]),
    (pa.array([b"a"], pa.binary_view()), "string", ["a"]),
    (pa.array([b"a"], pa.large_binary()), "string", ["a"]),
    (pa.array([b"ab"], pa.binary(2)), "string", ["ab"]),
    (pa.array(["a", "a"]).dictionary_encode(), "string", ["a", "a"]),
    (pc.run_end_encode(pa.array(["a", "a"])), "string", ["a", "a"]),
    (pc.run_end_encode(pa.array([7, 7])), "int32", ["7", "7"]),
    (pa.array([Decimal("3.00")], pa.decimal32(4, 2)), "int64", ["3"]),
    (pa.array([Decimal("0.10")], pa.decimal64(12, 2)), "float64", ["0.1"]),
    (pa.array([Decimal("3.00")], pa.decimal256(60, 2)), "int64", ["3"]),
    (pa.array([1.5], pa.float16()), "float64", ["1.5"]),
    (pa.array([2.0], pa.float16()), "int32", ["2"]),
    (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())), "bool", ["true", "false"]),
    (pa.array([UUID(int=42)]), "string", [str(UUID(int=42))]),
    (pa.array(['{"a": 1}'], pa.json_()), "string", ['{"a": 1}']),
    (pa.array([date(1969, 12, 31)], pa.date64()), "date32", ["1969-12-31"]),
    (pa.array([-1], pa.timestamp("ns", "UTC")), "timestamp[ns, UTC]", ["1969-12-31 23:59:59.999999999Z"]),
    (pa.array([date(2024, 3, 1)], pa.date64()), "timestamp[s, UTC]", ["2024-02-29 23:00:00Z"]),
]


@pytest.mark.parametrize(("column", "wanted", "want"), SOME, ids=lambda value: str(getattr(value, "type", value)))
def test_encoded_arrow_columns_are_read_as_their_values(column: pa.Array, wanted: str, want: list[str]) -> None:
    assert cast_to_text(column, wanted) == want


OTHERS: list[tuple[pa.Array, str]] = [
    (pa.array([b"\xff"]), "\\xff"),
    (pa.array([[1, None]], pa.list_view(pa.int32())), "[1, null]"),
    (pa.array([{"a": 1, "b": ["x"]}]), '{"a": 1, "b": ["x"]}'),
    (pa.array([timedelta(seconds=1)]), "1000000"),
    (pa.array([1], pa.time64("ns")), "00:00:00.000000001"),
    (pa.array([1], pa.time32("s")), "00:00:01"),
    (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "MonthDayNano(months=1, days=2, nanoseconds=3)"),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), '[{"key": "k", "value": 1}]'),
    (pa.array([1], pa.timestamp("us", "Mars/Base")), "1970-01-01 00:00:00.000001Z"),
    (pa.array([2**62], pa.timestamp("s")), "<value out of range: 4611686018427387904>"),
    (pa.array([[1]], pa.list_(pa.int8(), 1)), "[1]"),
    (pa.UnionArray.from_sparse(pa.array([1], pa.int8()), [pa.array([1]), pa.array(["z"])]), "z"),
]


@pytest.mark.parametrize(("column", "want"), OTHERS, ids=lambda value: str(getattr(value, "type", "")))
def test_a_column_of_any_type_is_kept_as_text_and_refused_where_declared_otherwise(column: pa.Array, want: str) -> None:
    assert text(pa.chunked_array([column])).to_pylist() == [want]
    for wanted in ("string", "int64", "float32", "bool", "date32", "timestamp[us, UTC]"):
        if not pa.types.is_timestamp(column.type) or wanted in ("string", "int64"):
            with pytest.raises(Unfit):
                cast_to_text(column, wanted)


def test_a_missing_value_among_numbers_is_missing_whatever_its_neighbours() -> None:
    for others in (["1", "2"], ["9007199254740992", "0.5"], ["nan"]):
        for word in ("nan", "NaN", ""):
            assert cast_to_text([others[0], word, *others[1:]], "float64", CELLS)[1] is None


@pytest.mark.parametrize("word", ["33333333333333330000", "9223372036854776000", "-100000000000000000000000"])
def test_a_float_written_without_an_exponent_is_accepted(word: str) -> None:
    assert cast_to_text([word], "float64", CELLS) == cast_to_text([float(word)], "float64")


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_nan_is_missing_where_a_column_is_kept_as_text(kind: pa.DataType) -> None:
    values = np.array([1.5, np.nan, np.inf], dtype=kind.to_pandas_dtype())
    assert text(pa.chunked_array([pa.array(values, kind)])).to_pylist() == ["1.5", None, "inf"]


@pytest.mark.parametrize("name", ["int", "varchar", "timestamp[us, Mars/Base]", "null", "", None, 5, pa.int32()])
def test_a_type_that_does_not_exist_is_refused_with_table_and_column(name: Any) -> None:
    with pytest.raises(InvalidInput, match=r"table visits, column x: .* is not a column type; write int32"):
        declared_types(RawTable("visits", ("x",), {"x": name}))


# --- the repeated hour

ZONES = ["America/Havana", "Australia/Lord_Howe", BERLIN, "America/New_York", "Australia/Sydney", "America/Santiago"]
SHIFTS = st.timedeltas(timedelta(hours=-2), timedelta(hours=2))


@pytest.mark.parametrize(("zone", "offsets"), [(BERLIN, (2, 1)), ("Australia/Sydney", (11, 10))])
@pytest.mark.parametrize("year", [2024, 2060])
@pytest.mark.parametrize("made", [datetime.isoformat, lambda local: local], ids=["text", "timestamp"])
def test_a_repeated_hour_is_read_as_the_first_or_the_second_as_the_source_says(
    zone: str, offsets: tuple[int, int], year: int, made: Any
) -> None:
    local = next(one for one in _moved(year, zone) if _moves(one, zone) > timedelta(0))
    column = pa.chunked_array([pa.array([made(local)])])
    for ambiguous, offset in zip(("first", "second"), offsets, strict=True):
        at = cast(column, pa.timestamp("us", "UTC"), zone, ambiguous=ambiguous)  # type: ignore[arg-type]
        assert at.to_pylist() == [(local - timedelta(hours=offset)).replace(tzinfo=UTC)]
    with pytest.raises(Unfit, match=f"is ambiguous in timezone '{zone}'") as refused:
        cast(column, pa.timestamp("us", "UTC"), zone)
    assert refused.value.twice


@pytest.mark.parametrize("ambiguous", ["refuse", "first", "second"])
@pytest.mark.parametrize(("year", "zone"), [(2024, BERLIN), (2060, BERLIN), (2024, "Australia/Sydney")])
def test_a_skipped_hour_is_refused_whatever_the_source_says(year: int, zone: str, ambiguous: Any) -> None:
    local = next(one for one in _moved(year, zone) if _moves(one, zone) < timedelta(0))
    with pytest.raises(Unfit, match=f"doesn't exist in timezone '{zone}'") as refused:
        cast(pa.chunked_array([pa.array([local])]), pa.timestamp("us", "UTC"), zone, ambiguous=ambiguous)
    assert not refused.value.twice


@given(
    st.lists(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), min_size=1), st.sampled_from(ZONES), st.data()
)
def test_the_first_reading_precedes_the_second_by_the_amount_that_clocks_are_set_back(
    times: list[datetime], zone: str, data: st.DataObject
) -> None:
    moved = _moved(data.draw(st.integers(1990, 2070)), zone)
    near = data.draw(st.lists(st.builds(operator.add, st.sampled_from(moved), SHIFTS))) if moved else []
    real = [one for one in times + near if _moves(one, zone) >= timedelta(0)]
    column = pa.chunked_array([pa.array(real, pa.timestamp("us"))])
    first, second = (
        instants.convert(column, instants.INSTANT, zone, which).to_pylist() for which in ("first", "second")
    )
    assert [b - a for a, b in zip(first, second, strict=True)] == [_moves(one, zone) for one in real]
    shown = instants.local_times(np.array([one.replace(tzinfo=None) for one in first], "datetime64[us]"), zone)
    assert shown.tolist() == real, "local clocks show the written time at both instants"


@given(st.sampled_from(ZONES), st.integers(1990, 2070), st.sampled_from(["first", "second"]), st.data())
def test_local_times_at_or_after_a_bound_are_never_read_as_an_earlier_instant(
    zone: str, year: int, ambiguous: Ambiguous, data: st.DataObject
) -> None:
    """So a query of a database by local times returns the rows of a window, and no others."""
    moved = _moved(year, zone)
    time = data.draw(st.builds(operator.add, st.sampled_from(moved or (datetime(year, 3, 1),)), SHIFTS))
    at = data.draw(st.builds(operator.add, st.sampled_from(moved or (time,)), SHIFTS)).replace(tzinfo=ZoneInfo(zone))
    assume(_moves(time, zone) >= timedelta(0))
    instant = (at.replace(fold=data.draw(st.integers(0, 1)))).astimezone(UTC)
    column = pa.chunked_array([pa.array([time], pa.timestamp("us"))])
    (read,) = instants.convert(column, instants.INSTANT, zone, ambiguous).to_pylist()
    assert (time >= read_from(instant, zone, ambiguous)) == (read >= instant)


@lru_cache
def _moved(year: int, zone: str) -> tuple[datetime, ...]:
    """The local times of a year, one for each half hour, that the zone's clocks show twice or never."""
    every = (datetime(year, 1, 1, 0, 10) + timedelta(minutes=30 * number) for number in range(366 * 48))
    return tuple(one for one in every if _moves(one, zone))


def _moves(local: datetime, zone: str) -> timedelta:
    """By how much clocks are set back around a local time: 0 where it is one instant, negative where it is none."""
    first = local.replace(tzinfo=ZoneInfo(zone))
    offsets = [first.replace(fold=fold).utcoffset() or timedelta(0) for fold in (0, 1)]
    return offsets[0] - offsets[1]
