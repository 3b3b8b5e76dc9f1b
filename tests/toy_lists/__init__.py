"""The toy with a list in its requests (the parts that a pump waits for) and every kind of derived feature."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, Field

from pipelines.declare import Bins, Cross, Cyclical, Derived, Difference, Each, Function, Log, Ratio
from pipelines.usecase import PREDICTED_AT, Columns, FeatureTable, ModelInputs, Tables
from pipelines.windows import Window
from tests.toy import Pumps, Reading

PARTS = 10  # the last one has no rows, and the one before it only rows of the first day


class Order(Reading):
    """A request: one morning reading, and the parts that the pump waits for."""

    parts: list[Annotated[str, Field(pattern=r"^[0-9]{1,3}$")] | None] | None = Field(None, max_length=8)


def part_shares(columns: Columns) -> Columns:
    """The share of parts that are known, and whether there are many."""
    numbers = np.array([np.nan if parts is None else len(parts) for parts in columns["parts"]])
    many = np.array([None if parts is None else str(len(parts) > 2) for parts in columns["parts"]] + [None])[:-1]
    return {"known_share": columns["known_parts"] / np.where(numbers == 0, np.nan, numbers), "many": many}


DERIVED: tuple[Derived, ...] = (
    Difference("days_since", PREDICTED_AT, "last_at", unit=timedelta(days=1)),
    Difference("load_change", "load", "last_load"),
    Ratio("load_ratio", "load", "last_load"),
    Log("log_days", "days_since"),
    Bins("load_bin", "load", (-1.0, 0.0, 1.0)),
    Cyclical("clock", "hour", 24.0),
    Cross("plant_grade", "plant", "grade"),
    Each("mean_wear", "parts", "part", "wear", "mean"),
    Each("max_wear", "parts", "part", "wear", "max"),
    Each("known_parts", "parts", "part", "wear", "count"),
    Each("stock", "parts", "part", "on_stock", "sum"),
    Function(("known_share", "many"), ("parts", "known_parts"), part_shares),
    Log("unread", "not_in_any_view"),  # part of no service, so it is never computed
)
NUMERIC = ("load", "hour", "heat_3d", "days_since", "load_change", "load_ratio", "log_days", "clock_sin", "clock_cos")
INPUTS = ModelInputs(
    (*NUMERIC, "mean_wear", "max_wear", "known_parts", "stock", "known_share"),
    ("plant", "load_bin", "plant_grade", "many"),
)


@dataclass(frozen=True)
class Lists(Pumps):
    name: str = "pumps_lists"
    feature_repo: Path = Path(__file__).parent / "feature_repo"
    feature_tables: tuple[FeatureTable, ...] = (
        *Pumps.feature_tables,
        FeatureTable("pump_last", ("pump",), ("readings",)),
        FeatureTable("part_wear", ("part",), ("readings",)),
        FeatureTable("part_stock", ("part", "plant"), ("readings",)),
    )
    model_inputs: dict[str, ModelInputs] = field(default_factory=lambda: {"pump_parts_v1": INPUTS})
    request_columns: tuple[str, ...] = (*Pumps.request_columns, "parts")
    derived: tuple[Derived, ...] = DERIVED

    def build(self, feature_table: FeatureTable, tables: Tables, window: Window) -> pa.Table:
        if feature_table.name in ("pump_maker", "pump_heat"):
            return super().build(feature_table, tables, window)
        rows = tables["readings"].to_pandas().sort_values(["read_at", "pump"])
        number = rows.pump.astype(int)
        rows = rows.assign(known_at=rows.read_at + pd.Timedelta(minutes=5), part=(number % PARTS).astype(str))
        if feature_table.name == "pump_last":
            ago = pd.to_timedelta(number * 997.25, unit="s")
            rows = rows.assign(
                last_at=(rows.read_at - ago).where(number % 7 > 0), last_load=rows.load.astype("float64") / 3
            )
            rows = rows.assign(grade=np.where(number % 5 == 0, None, (number % 3).astype(str)))
            columns = ["pump", "known_at", "last_at", "last_load", "grade"]
        else:
            first = rows.local_day == self.start
            rows = rows[(number % PARTS < PARTS - 2) | ((number % PARTS == PARTS - 2) & first)]
            keys = [*feature_table.keys]
            rows = rows.groupby([*keys, "known_at"]).agg(wear=("heat", "mean"), on_stock=("load", "size")).reset_index()
            rows = rows.astype({"wear": "float32", "on_stock": "int64"})
            columns = [*keys, "known_at", "wear" if feature_table.name == "part_wear" else "on_stock"]
        inside = (rows.known_at >= window.start_at) & (rows.known_at < window.end_at)
        return pa.Table.from_pandas(rows.loc[inside, columns], preserve_index=False)

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        made = super().examples(tables, window)
        parts = [
            parts_of(pump, day.day)
            for pump, day in zip(*made.select(["pump", "local_day"]).to_pydict().values(), strict=True)
        ]
        return made.append_column("parts", pa.array(parts, pa.list_(pa.string())))

    def request_model(self) -> type[BaseModel]:
        return Order


def parts_of(pump: str, day: int) -> list[str | None] | None:
    """Up to five parts, some repeated, some unknown, one None; or no list."""
    number = int(pump)
    if number % 13 == 1:
        return None
    parts: list[str | None] = [str((number * 7 + day * place) % (PARTS + 1)) for place in range(number % 6)]
    return [*parts, None] if number % 11 == 2 else parts


USECASE = Lists()
