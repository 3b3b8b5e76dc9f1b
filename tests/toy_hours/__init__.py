"""The toy with a reading every hour and partitions of an hour, across the night in which clocks are set forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.instants import midnight
from pipelines.usecase import RawTable, Tables
from pipelines.windows import Window
from tests.toy import Pumps, readings

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

PUMPS = 12


@dataclass(frozen=True)
class Hours(Pumps):
    name: str = "pumps_hours"
    period: timedelta = timedelta(hours=1)
    start: date = date(2024, 3, 26)
    end: date = date(2024, 4, 8)

    def read(self, table: RawTable, window: Window) -> Iterator[pa.Table]:
        if table.name == "makers":
            yield pa.table({"pump": np.arange(PUMPS).astype(str), "age": np.arange(PUMPS, dtype="float32")})
            return
        first, end = midnight(self.start, self.timezone), midnight(self.end, self.timezone)
        at = pd.date_range(first + timedelta(minutes=20), end, freq="h", inclusive="left")
        yield readings(at, PUMPS, np.random.default_rng(7))

    def expectations(self, table: RawTable) -> list[Expectation]:
        from pipelines.validation.queries import (
            ExpectKeysToBeUnique,
            ExpectPeriodRowCountsToBeBetween,
            ExpectPeriodsToReachTheirEnd,
        )

        if table.name == "makers":
            return super().expectations(table)
        twice = {"severity": "quarantine", "reason": "twice"}
        return [
            *super().expectations(table),
            ExpectKeysToBeUnique(column_list=["pump", "read_at"], within_days=1, meta=twice),
            ExpectPeriodRowCountsToBeBetween(min_value=PUMPS // 2, max_value=2 * PUMPS),
            ExpectPeriodsToReachTheirEnd(column="read_at", hours=0.75),
        ]

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        readings = tables["readings"].to_pandas()
        inside = (readings.read_at >= window.start_at) & (readings.read_at < window.end_at)
        rows = readings[inside]
        at = rows.read_at + pd.Timedelta(minutes=10)
        made = rows[["pump", "plant", "load", "read_at"]].assign(
            local_day=rows.read_at.dt.tz_convert(self.timezone).dt.date,
            example_id=rows.pump + "@" + rows.read_at.dt.strftime("%Y%m%d%H"),
            predicted_at=at,
            label=rows.serviced.astype("float64"),
            label_known_at=at + pd.Timedelta(hours=6),
        )
        return pa.Table.from_pandas(made.sort_values(["predicted_at", "example_id"]), preserve_index=False)


USECASE = Hours()
