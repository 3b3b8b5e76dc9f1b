"""The flights of 2013 copied to earlier years, as files, and the use case that covers them.

Earlier, since the zones of pyarrow and pandas know no summer time after 2037.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb

from pipelines.usecases.flights import USECASE as ONE_YEAR
from pipelines.usecases.flights.bundled import folder

DAYS = 365  # between the starts of two successive copies
USECASE = replace(ONE_YEAR, start=ONE_YEAR.end - timedelta(30 * DAYS))

# The instant moves by whole days; local times move with it, since clocks change on other days in other years.
MOVED = """
select * exclude (moved_at, local, turned) replace (
    year(local) as year, month(local) as month, day(local) as day, hour(local) as hour, moved_at as time_hour {clocks}
) from (
    select *, moved_at::timestamp as local, hour(moved_at::timestamp) - hour as turned from (
        select *, to_timestamp(epoch(time_hour::timestamptz) - {copy} * {days} * 86400) as moved_at
        from read_csv('{file}', nullstr = ['NA'], types = {types})
    )
)
"""
CLOCKS = "".join(
    f", (({name} // 100 + turned + 24) % 24) * 100 + {name} % 100 as {name}"
    for name in ("dep_time", "sched_dep_time", "arr_time", "sched_arr_time")
)


def write_copies(into: Path, copies: int) -> None:
    """Write `copies` years of flights and weather, one Parquet file each, and unchanged reference tables."""
    into.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'America/New_York'")
        for table in ("planes", "airports"):
            (into / f"{table}-0.csv").write_bytes((folder() / f"{table}.csv").read_bytes())
        for table, clocks in (("flights", CLOCKS), ("weather", "")):
            file = unpacked(table, into)
            raw = next(one for one in USECASE.tables if one.name == table)
            kinds = {"int32": "INTEGER", "float64": "DOUBLE", "string": "VARCHAR"}
            types = {name: kinds.get(kind, "VARCHAR") for name, kind in raw.columns.items()}
            for copy in range(copies):
                sql = MOVED.format(clocks=clocks, copy=copy, days=DAYS, file=file, types=types)
                connection.execute(f"copy ({sql}) to '{into}/{table}-{copy:02}.parquet'")


def unpacked(table: str, into: Path) -> Path:
    """The bundled CSV as a plain file."""
    import zipfile

    packed, plain = folder() / f"{table}.csv.zip", into / f"{table}.source"
    if packed.exists():
        with zipfile.ZipFile(packed) as archive:
            plain.write_bytes(archive.read(f"{table}.csv"))
        return plain
    return folder() / f"{table}.csv"
