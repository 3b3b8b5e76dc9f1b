"""Real-life sources: other names, foreign numbers and dates, surplus columns and rows."""

from __future__ import annotations

import gzip
import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.context import Context
from pipelines.errors import CorruptData, InvalidInput
from pipelines.settings import Settings
from pipelines.sources import Piece
from pipelines.sources.shaping import spelled
from pipelines.sources.source import Reading
from pipelines.steps import execute
from pipelines.usecase import RawTable
from tests.sources import context_over
from tests.toy import Pumps

COLUMNS = {"invoice": "string", "at": "timestamp[us, UTC]", "quantity": "int32", "price": "float64"}
ORDERS = RawTable("orders", ("invoice",), COLUMNS, day="at")
DAY = {"start": "2024-03-29", "end": "2024-03-30"}
SHEET = """Invoice No;Date;Quantity;Price;Note
A1;29.03.2024 08:26;6;1.234,50;first
A2;29.03.2024 09:01;-2;2,5;returned

A3;29.03.2024 23:59;1.000;,99;"two
lines"
A4;30.03.2024 00:00;3;7;next day
"""
SHAPE = {
    "kind": "files",
    "delimiter": ";",
    "decimal": ",",
    "thousands": ".",
    "timestamp_format": "%d.%m.%Y %H:%M",
    "rename": {"Invoice No": "invoice", "Date": "at", "Quantity": "quantity", "Price": "price"},
    "leave_out": ["Note"],
}


def desk(folder: Path, source: dict[str, Any], sheet: str = SHEET, zone: str | None = "Europe/Berlin") -> Context:
    """The orders in a CSV, or as `source` says, with times in `zone`; None: the zone of the use case."""
    (folder / "orders.csv").write_text(sheet)
    if source["kind"] == "files":
        source = {"uri": f"{folder}/{{table}}.csv", **source}
    return context_over(folder / "home", {**source, "timezone": zone}, ORDERS)


def ingested(context: Context) -> list[dict[str, Any]]:
    execute("ingest", DAY, context)
    rows = context.data.read("raw", "orders", context.window(date(2024, 3, 29), date(2024, 3, 30)))
    records: list[dict[str, Any]] = rows.drop_columns(["local_day"]).to_pylist()
    return records


@pytest.mark.parametrize("zone", ["Europe/Berlin", None], ids=["said", "of the use case"])
def test_a_foreign_sheet_is_read_into_the_declared_names_and_values(tmp_path: Path, zone: str | None) -> None:
    rows = ingested(desk(tmp_path, {**SHAPE, "where": "quantity > 0"}, zone=zone))
    assert rows == [
        {"invoice": "A1", "at": datetime(2024, 3, 29, 7, 26, tzinfo=UTC), "quantity": 6, "price": 1234.5},
        {"invoice": "A3", "at": datetime(2024, 3, 29, 22, 59, tzinfo=UTC), "quantity": 1000, "price": 0.99},
    ]


def test_the_number_of_rows_that_where_excludes_is_reported(tmp_path: Path) -> None:
    counts = execute("ingest", DAY, desk(tmp_path, {**SHAPE, "where": "quantity > 0"}))["tables"]["orders"]
    assert (counts["delivered"], counts["left_out"]) == (3, 1)


def test_a_column_that_is_neither_declared_nor_excluded_is_kept_as_text(tmp_path: Path) -> None:
    rows = ingested(desk(tmp_path, {**SHAPE, "leave_out": []}))
    assert [row["Note"] for row in rows] == ["first", "returned", "two\nlines"]


@pytest.mark.parametrize(
    ("sheet", "change", "message"),
    [
        (
            SHEET.replace(";7;", ";7.5;"),
            {},
            r"column price: expected double, found string \(such as '7.5'\).*in line 7",
        ),
        (SHEET.replace("30.03.", "31.02."), {}, r"column at: .*'31.02.2024 00:00'.*not of the form %d.* in line 7"),
        (SHEET.replace(";1.000;", ";1,5;"), {}, r"column quantity: expected int32, .*'1,5'.*in line 5; correct"),
        (SHEET.replace("6;1.234,50", "6;12.34,50"), {}, r"column price: .*'12.34,50'.* in line 2"),
        (
            SHEET,
            {"where": "quantities > 0"},
            r"where of the source of orders: 'quantities > 0' is no condition .*quantit",
        ),
        (SHEET, {"where": "quantity"}, "'quantity' is int32, neither true nor false"),
        (SHEET, {"leave_out": ["Remark"]}, r"leave_out names Remark, and the source has only Invoice No, .*Note"),
        (SHEET, {"where": "max(quantity) > 0"}, "does not judge each row alone"),
        (SHEET, {"where": "quantity in (select * from read_csv('/etc/hostname'))"}, "is no condition"),
        (SHEET, {"rename": {"Invoice": "invoice"}}, r"column Invoice is missing"),
        (
            SHEET,
            {"leave_out": ["Price"], "rename": {"Invoice No": "invoice", "Date": "at", "Quantity": "quantity"}},
            "price",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_line_and_nothing_is_stored(
    tmp_path: Path, sheet: str, change: dict[str, Any], message: str
) -> None:
    context = desk(tmp_path, SHAPE | change, sheet)
    with pytest.raises((CorruptData, InvalidInput), match=message):
        ingested(context)
    assert not context.data.periods("raw", "orders")


def test_lines_of_a_compressed_file_are_counted_too(tmp_path: Path) -> None:
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress(SHEET.replace(";7;", ";seven;").encode()))
    with pytest.raises(CorruptData, match=r"orders.csv.gz: .*'seven'.*in line 7"):
        ingested(desk(tmp_path, {**SHAPE, "uri": f"{tmp_path}/orders.csv.gz"}))


@pytest.mark.parametrize("incremental", [False, True])
def test_a_database_is_queried_by_its_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, incremental: bool
) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute('create table orders ("No" text, "When" timestamp, q integer, p float, seen timestamp)')
        values = [
            ("A1", "2024-03-29 08:00:00", 6, 1.5),
            ("A2", "2024-03-30 08:00:00", 1, 1.0),
            ("A3", "2024-03-29 09:00:00", 0, 2),
        ]
        connection.executemany("insert into orders values (?, ?, ?, ?, ?)", [(*row, row[1]) for row in values])
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    names = {"No": "invoice", "When": "at", "q": "quantity", "p": "price"}
    source: dict[str, Any] = {"kind": "sql", "url_env": "SHOP_URL", "rename": names, "where": "quantity > 0"}
    context = desk(tmp_path, {**source, "incremental": incremental, "leave_out": [] if incremental else ["seen"]})
    if incremental:
        table = replace(ORDERS, columns={**COLUMNS, "changed": "timestamp[us, UTC]"}, known="changed")
        source = context.params.source.model_copy(update={"rename": {**names, "seen": "changed"}})  # type: ignore[assignment]
        params = context.params.model_copy(update={"source": source})
        usecase: Any = Pumps(name="visits", tables=(table,), feature_tables=())
        context = Context(Settings(home=tmp_path / "home"), params, usecase)
    assert [(row["invoice"], row["at"].hour) for row in ingested(context)] == [("A1", 7)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rename": {"a": "x", "b": "x"}}, "rename gives x to two columns"),
        ({"rename": {"a": "x"}, "leave_out": ["a"]}, "a is renamed and left out"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        ({"timestamp_format": ["%d.%m.%Y %H:%M %z", "%d.%m.%Y"]}, r"have an offset \(%z\) and some have none"),
        ({"timestamp_format": "ISO"}, "timestamp_format"),
        ({"timezone": "Berlin"}, "not an IANA zone"),
        ({"ambiguous": "third"}, "'refuse', 'first' or 'second'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        context_over(tmp_path / "home", {"kind": "files", "uri": "x", **change}, ORDERS)


def test_the_first_format_that_fits_is_used_and_offsets_are_read(tmp_path: Path) -> None:
    def at(*words: str, formats: tuple[str, ...]) -> list[Any]:
        piece = Piece(pa.table({}), nulls=("", "-"), reading=Reading(formats))
        column = pa.chunked_array([pa.array(words, pa.string())])
        return list(spelled(column, pa.timestamp("us", "UTC"), piece).to_pylist())

    assert (
        at("1/2/2024", " 2024-02-01 ", "-", "", formats=("%d/%m/%Y", "%Y-%m-%d"))
        == [datetime(2024, 2, 1)] * 2 + [None] * 2
    )
    zoned = at("2024-02-01 01:00 +0530", formats=("%Y-%m-%d %H:%M %z",))
    assert zoned == [datetime(2024, 1, 31, 19, 30, tzinfo=UTC)]


numbers = st.floats(-1e12, 1e12).map(lambda value: round(value, 3))


@given(st.lists(numbers, min_size=1), st.sampled_from([".", ",", " ", "'", ""]), st.sampled_from([".", ","]))
def test_numbers_are_read_back_whatever_their_separators(values: list[float], thousands: str, decimal: str) -> None:
    if thousands == decimal:
        thousands = ""
    signs = str.maketrans({",": thousands or None, ".": decimal})
    words = [f"{value:,.3f}".translate(signs) for value in values]
    reading = Reading(decimal=decimal, thousands=thousands)
    piece = Piece(pa.table({}), nulls=("",), reading=reading)
    column = spelled(pa.chunked_array([pa.array(words)]), pa.float64(), piece)
    assert [float(word) for word in column.to_pylist()] == [float(f"{value:.3f}") for value in values]
