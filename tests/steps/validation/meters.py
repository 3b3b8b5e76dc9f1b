"""What the tests of validation share: readings of meters, their expectations, and what a run leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import great_expectations.expectations as gxe
import pyarrow as pa

from pipelines.context import Context
from pipelines.usecase import DAY, RawTable
from pipelines.validation.queries import ExpectKeysToBeUnique, Query
from pipelines.validation.validate import Inputs

START, MIDDLE, END = date(2020, 1, 1), date(2020, 1, 2), date(2020, 1, 3)
WINDOW = Inputs(start=START, end=END)
METERS = RawTable("readings", ("meter",), {"meter": "string", "load": "float32"}, day=DAY)
SITES = RawTable("sites", ("site",), {"site": "string"})


def readings(day: date, values: Sequence[float | None], meters: Sequence[str | None] | None = None) -> pa.Table:
    meters = meters or [f"m{n}" for n in range(len(values))]
    return pa.table(
        {
            DAY: pa.array([day] * len(values), pa.date32()),
            "meter": pa.array(meters, pa.string()),
            "load": pa.array(values, pa.float32()),
        }
    )


def expectations(table: RawTable) -> list[Any]:
    if table.name == "sites":
        return [gxe.ExpectColumnValuesToBeUnique(column="site")]
    return [
        gxe.ExpectColumnValuesToNotBeNull(column="meter"),
        gxe.ExpectColumnValuesToBeBetween(
            column="load", min_value=0, meta={"severity": "quarantine", "reason": "negative"}
        ),
        gxe.ExpectColumnValuesToNotBeNull(column="load", meta={"severity": "quarantine", "reason": "no_load"}),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=[DAY, "meter"], meta={"severity": "quarantine", "reason": "twice"}
        ),
        gxe.ExpectColumnMaxToBeBetween(column="load", max_value=100, meta={"severity": "warning", "reason": "high"}),
    ]


def put(context: Context, table: pa.Table, day: date) -> None:
    context.data.store.write_table(context.data.partition("raw", "readings", day), table)


def read(context: Context, zone: str, day: date | None, table: str = "readings") -> dict[str, list[Any]]:
    rows = context.data.store.read_table(context.data.partition(zone, table, day)).to_pydict()
    return dict(rows)


def report(context: Context) -> Any:
    return context.data.store.read_json(context.data.uri("reports", "validation", f"{START}_{END}.json"))


def twice_across(table: RawTable) -> list[Any]:
    if table.name == "sites":
        return expectations(table)
    unique = ExpectKeysToBeUnique(column_list=["meter"], within_days=1, meta={**APART, "reason": "again"})
    return [*expectations(table)[:3], unique]


APART = {"severity": "quarantine"}


class ExpectToRaise(Query):
    """Raises while Great Expectations judges it."""

    def sql(self) -> str:
        return "select 1 as n"

    def judge(self, answer: Any) -> Any:
        raise ZeroDivisionError("a mistake")


class ExpectTheImpossible(ExpectToRaise):
    def sql(self) -> str:
        return "select nothing from nowhere"


def pages(context: Context) -> dict[str, str]:
    folder = context.data.uri("reports", "validation", f"{START}_{END}")
    return {
        name: context.data.store.read_bytes(f"{folder}/{name}").decode() for name in context.data.store.names(folder)
    }
