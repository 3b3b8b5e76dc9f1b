"""Queries take names and paths literally: no column, table or folder of a user is mistaken for one of ours."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from pipelines.errors import InvalidInput
from pipelines.store import Layout, Store
from pipelines.usecase import DAY, RawTable
from pipelines.validation.asking import QueryOutcome, ask
from pipelines.validation.distribution import ExpectDistributionToBeStable
from pipelines.validation.queries import ExpectColumnTypes, ExpectKeysToBeUnique, ExpectValuesToBeKnown, reference_table
from pipelines.validation.suite import checks_of

TODAY, BEFORE = date(2020, 1, 2), date(2020, 1, 1)
APART = {"severity": "quarantine", "reason": "bad"}
NOTED = {"severity": "warning", "reason": "noted"}
# names that our queries create, SQL keywords, and characters with a meaning in SQL
NAMES = [
    *("rows", "Rows", "types", "earlier", "REFERENCE", "bad", "known_tables", "known", "every", "often", "suspects"),
    *("ours", "twice", "again", "value", "bin", "edges", "n", "name", "type", "day", "known_tables.rows"),
    *("select", "group", "order", "a b", "a.b", 'a"b', "a'b", "a[0]", "{a}", "%s", "*", "é", "1", "main", "temp"),
]


def layout(folder: Path, column: str, table: str, values: list[str]) -> Layout:
    data = Layout(Store(str(folder)), "meters")
    for day in (BEFORE, TODAY):
        rows = pa.table({column: values * 150, DAY: [day] * len(values) * 150, "other": [1] * len(values) * 150})
        data.store.write_table(data.partition("raw", "readings", day), rows)
        data.store.write_table(data.partition("validated", "readings", day), rows)
    data.store.write_table(data.partition("raw", table, None), pa.table({column: ["a", "b"]}))
    return data


def ask_all(data: Layout, column: str, table: str, *checks: Any) -> list[QueryOutcome]:
    readings = RawTable("readings", (column,), {column: "string"}, day=DAY)
    usecase: Any = SimpleNamespace(timezone="UTC", tables=(readings, RawTable(table, (column,), {column: "string"})))
    return ask(readings, [TODAY], checks_of("readings", checks), usecase, data, {})


@pytest.mark.parametrize("name", NAMES)
def test_a_column_and_a_reference_table_may_have_any_name(name: str, tmp_path: Path) -> None:
    data = layout(tmp_path / "data", name, name, ["a", "c"])
    known, unique, types, stable = ask_all(
        data,
        name,
        name,
        ExpectValuesToBeKnown(column=name, table=name, known_in=name, meta=APART),
        ExpectKeysToBeUnique(column_list=[name], meta=APART),
        ExpectColumnTypes(types={name: "VARCHAR", "other": "BIGINT"}, meta=NOTED),
        ExpectDistributionToBeStable(column=name, meta=NOTED),
    )
    assert [answer.result.error for answer in (known, unique, types, stable)] == [None] * 4
    assert known.bad[TODAY].tolist() == list(range(1, 300, 2))  # every `c`, and no `a`
    assert unique.bad[TODAY].tolist() == list(range(300))
    assert types.result.success and stable.result.success


def test_a_column_that_the_reference_table_lacks_is_not_taken_from_the_rows(tmp_path: Path) -> None:
    data = layout(tmp_path / "data", "cat", "cats", ["a", "c"])
    (answer,) = ask_all(
        data, "cat", "cats", ExpectValuesToBeKnown(column="cat", table="cats", known_in="other", meta=APART)
    )
    assert answer.result.error is not None and not answer.result.success


def test_rows_of_a_neighbouring_folder_are_not_read(tmp_path: Path) -> None:
    check = ExpectValuesToBeKnown(column="cat", table="cats", known_in="cat", meta=APART)
    for literal, beside in (("x[1]", "x1"), ("y*", "yy"), ("z?", "zz"), ("day=1", "day=2")):
        layout(tmp_path / beside, "cat", "cats", ["c"])
        (answer,) = ask_all(layout(tmp_path / literal, "cat", "cats", ["a"]), "cat", "cats", check)
        assert answer.result.success and answer.result.observed["element_count"] == 150


def test_tables_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    data = layout(tmp_path / "data", "cat", "READINGS", ["a"])
    with pytest.raises(InvalidInput, match="readings and READINGS differ"):
        ask_all(data, "cat", "READINGS", ExpectKeysToBeUnique(column_list=["cat"], meta=APART))


def test_a_query_of_a_use_case_may_name_reference_tables_directly_or_by_function(tmp_path: Path) -> None:
    class ExpectSites(ExpectValuesToBeKnown):
        def bad(self) -> str:
            known = " or ".join(f"cat not in (select cat from {table})" for table in ("cats", reference_table("cats")))
            return f"select _partition, _position from rows where {known}"

    data = layout(tmp_path / "data", "cat", "cats", ["a", "c"])
    (answer,) = ask_all(data, "cat", "cats", ExpectSites(column="cat", table="cats", known_in="cat", meta=APART))
    assert answer.result.error is None and len(answer.bad[TODAY]) == 150
