"""Altered copies of the flights' files, as a folder that a source can name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from pipelines.configuration import load_params
from pipelines.sources import read_window
from pipelines.usecase import UseCase
from pipelines.usecase_import import load_usecase
from pipelines.usecases.flights.bundled import folder as bundled
from pipelines.windows import Window
from tests.conftest import ROOT

USECASE: UseCase = load_usecase("pipelines.usecases.flights")
PARAMS = load_params(ROOT / "params.yaml")


def tables(start: date, end: date) -> dict[str, pa.Table]:
    window = Window(start, end, USECASE.timezone)
    return {table.name: read_window(PARAMS, USECASE, table, window) for table in USECASE.tables}


def write_source(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame], end: str) -> Path:
    """The bundled source with `change` applied to the flights before `end` (YYYY-MM-DD); later flights are left out."""
    folder.mkdir(parents=True)
    for name in (table.name for table in USECASE.tables):
        if name != "flights":
            (folder / f"{name}.csv").write_bytes((bundled() / f"{name}.csv").read_bytes())
    flights = every_flight()
    day = pd.to_datetime(flights[["year", "month", "day"]])
    change(flights[day < pd.Timestamp(end)].copy()).to_csv(folder / "flights.csv", index=False)
    return folder


@functools.cache
def every_flight() -> pd.DataFrame:
    """The flights of the year as they were delivered. Read only."""
    optional = dict.fromkeys(("dep_time", "arr_time", "air_time", "arr_delay", "dep_delay"), "Int64")
    return pd.read_csv(bundled() / "flights.csv.zip", dtype=optional)


def files(folder: Path) -> dict[str, Any]:
    """The section `source` that reads such a folder."""
    return {"kind": "files", "uri": f"{folder}/{{table}}.csv*", "null_values": ["", "NA"]}
