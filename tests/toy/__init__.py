"""A toy use case: will a pump need service within a day of its morning reading? Generated, seeded, two months.

For brevity it imports data libraries at the top; a package that Airflow parses imports them inside the methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, Field

from pipelines.fields import Instant
from pipelines.instants.arrow import local_times
from pipelines.usecase import Block, Columns, FeatureTable, ModelInputs, RawTable, Tables, day_block
from pipelines.windows import Window

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

PUMPS, DAYS = 60, 70
READINGS = {"read_at": "timestamp[us, UTC]", "pump": "string", "plant": "string", "serviced": "bool"} | dict.fromkeys(
    ("load", "heat"), "float32"
)
INPUTS = {
    "pump_service_v1": ModelInputs(("load", "hour", "heat_3d", "age"), ("plant",)),
    "pump_service_v2": ModelInputs(("load", "hour", "heat_1d", "heat_3d", "age"), ("plant",)),
}


class Reading(BaseModel):
    """A request: one morning reading."""

    pump: str = Field(pattern=r"^[0-9]{1,4}$")
    plant: Literal["north", "south"]
    load: float | None = Field(None, ge=-100, le=100)
    read_at: Instant


def readings(at: pd.DatetimeIndex, pumps: int, draw: np.random.Generator) -> pa.Table:
    """A reading of each pump at each instant."""
    grid = pd.MultiIndex.from_product([at, np.arange(pumps).astype(str)], names=["read_at", "pump"])
    frame = pd.DataFrame(index=grid).reset_index()
    frame["load"], frame["heat"] = draw.normal(size=(2, len(frame))).astype("float32")
    frame["plant"] = np.where(frame.pump.astype(int) % 3 == 0, "north", "south")
    risk = 1 / (1 + np.exp(2.0 - 1.5 * frame["load"] - (frame.plant == "north")))
    frame["serviced"] = draw.random(len(frame)) < risk
    return pa.Table.from_pandas(frame, preserve_index=False)


@dataclass(frozen=True)
class Pumps:
    name: str = "pumps"
    timezone: str = "Europe/Berlin"
    start: date = date(2024, 3, 1)
    end: date = date(2024, 3, 1) + timedelta(DAYS)
    maturity: timedelta = timedelta(days=1)
    looks_ahead: timedelta = timedelta(0)  # the label is part of the reading
    feature_repo: Path = Path(__file__).parent / "feature_repo"
    slices: tuple[str, ...] = ("plant",)
    tables: tuple[RawTable, ...] = (
        RawTable("readings", ("pump", "read_at"), READINGS, day="read_at"),
        RawTable("makers", ("pump",), {"pump": "string", "age": "float32"}),
    )
    feature_tables: tuple[FeatureTable, ...] = (
        FeatureTable("pump_heat", ("pump",), ("readings",), lookback_days=3),
        FeatureTable("pump_maker", ("pump",), ("makers",), daily=False),
    )
    model_inputs: Mapping[str, ModelInputs] = field(default_factory=lambda: INPUTS)
    request_keys: tuple[str, ...] = ()
    request_columns: tuple[str, ...] = ("pump", "plant", "load", "read_at")
    outcomes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"readings": ("serviced",)})

    def read(self, table: RawTable, window: Window) -> Iterator[pa.Table]:
        draw = np.random.default_rng(7)
        if table.name == "makers":
            ages = draw.integers(1, 20, PUMPS).astype("float32")
            yield pa.table({"pump": np.arange(PUMPS).astype(str), "age": ages})
            return
        at = pd.date_range("2024-03-01 07:30", periods=DAYS, freq="D", tz=self.timezone).tz_convert("UTC")
        yield readings(at, PUMPS, draw)

    def expectations(self, table: RawTable) -> list[Expectation]:
        import great_expectations.expectations as gxe

        if table.name == "makers":
            return [gxe.ExpectColumnValuesToBeUnique(column="pump")]
        bad = {"severity": "quarantine", "reason": "bad_load"}
        return [
            gxe.ExpectColumnValuesToNotBeNull(column="pump"),
            gxe.ExpectColumnValuesToBeBetween(column="load", min_value=-3.2, max_value=9, meta=bad),
        ]

    def build(self, feature_table: FeatureTable, tables: Tables, window: Window) -> pa.Table:
        if feature_table.name == "pump_maker":
            known = pd.Timestamp("2024-03-01", tz="UTC")
            return pa.Table.from_pandas(tables["makers"].to_pandas().assign(known_at=known), preserve_index=False)
        rows = tables["readings"].to_pandas().sort_values(["pump", "read_at"])
        heat = rows.groupby("pump").heat.transform(lambda values: values.rolling(3, min_periods=1).mean())
        known = rows.read_at + pd.Timedelta(minutes=5)
        built = rows.assign(heat_3d=heat.round(3).astype("float32"), heat_1d=rows.heat, known_at=known)
        built = built[["pump", "known_at", "heat_1d", "heat_3d"]]
        inside = (built.known_at >= window.start_at) & (built.known_at < window.end_at)
        return pa.Table.from_pandas(built[inside].sort_values(["known_at", "pump"]), preserve_index=False)

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        rows = tables["readings"].to_pandas().query("local_day >= @window.start and local_day < @window.end")
        at = rows.read_at + pd.Timedelta(minutes=10)
        examples = rows[["local_day", "pump", "plant", "load", "read_at"]].assign(
            example_id=rows.pump + "@" + rows.read_at.dt.strftime("%Y%m%d"),
            predicted_at=at,
            label=rows.serviced.astype("float64"),
            label_known_at=at + pd.Timedelta(hours=23),
        )
        return pa.Table.from_pandas(examples.sort_values(["predicted_at", "example_id"]), preserve_index=False)

    def as_known(self, tables: Tables, instant: datetime) -> Tables:
        rows = tables["readings"].to_pandas()
        rows["serviced"] = rows.serviced.astype(object).where(rows.read_at + pd.Timedelta(hours=24) <= instant, None)
        rows = rows[rows.read_at + pd.Timedelta(minutes=5) <= instant]
        return {**tables, "readings": pa.Table.from_pandas(rows, tables["readings"].schema, preserve_index=False)}

    def request_features(self, columns: Columns) -> Columns:
        local = local_times(columns["read_at"], self.timezone)
        return {"hour": ((local - local.astype("datetime64[D]")) // np.timedelta64(1, "h")).astype(np.float32)}

    def request_model(self) -> type[BaseModel]:
        return Reading

    def split_key(self, request: Mapping[str, Any]) -> str:
        return str(request["pump"])

    def block(self, request: Mapping[str, Any], at: datetime) -> Block | None:
        return day_block(request["read_at"], self.timezone)


USECASE = Pumps()
