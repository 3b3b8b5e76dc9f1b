"""How long the validation step takes, and how much memory, over 1 to 30 copies of the year.

A copy is the year of the source, shifted back by whole years of 365 days, so that no key comes twice and every window
is a longer stretch of days. Each size is validated by a process of its own, whose peak memory is what the system says.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from pipelines.context import Context, build_context
from pipelines.usecase import DAY

YEAR = timedelta(365)
START, END = date(2013, 1, 1), date(2014, 1, 1)
RESULTS = Path(__file__).parent / "results" / "validation.md"


def context_over(home: Path, copies: int) -> Context:
    """The flights, with a source that begins so many years of 365 days before its end."""
    made = build_context(Path(__file__).parent.parent / "params.yaml", home)
    usecase: Any = made.usecase
    return replace(made, usecase=replace(usecase, start=END - copies * YEAR))


def write_copies(home: Path, copies: int) -> int:
    """Raw partitions of `copies` years, and the number of their rows."""
    from pipelines.steps import execute

    context, rows = context_over(home, copies), 0
    execute("ingest", {"start": START.isoformat(), "end": END.isoformat()}, context)
    for table in [table for table in context.usecase.tables if table.daily]:
        for day in context.data.days("raw", table.name):
            part = context.data.store.read_table(context.data.partition("raw", table.name, day))
            rows += part.num_rows
            for copy in range(1, copies):
                moved = day - copy * YEAR
                context.data.store.write_table(
                    context.data.partition("raw", table.name, moved), shifted(part, moved, context.usecase.timezone)
                )
                rows += part.num_rows
    return rows


def shifted(part: pa.Table, day: date, zone: str) -> pa.Table:
    """A partition as if it were of another day: the same local clock times, but those that it does not have once."""
    if not part.num_rows:
        return part
    local = part["time_hour"].to_pandas().dt.tz_convert(zone).dt.tz_localize(None)
    moved = local + (pd.Timestamp(day) - local.dt.normalize())
    instants = moved.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    once = instants.notna()
    if "wind_gust" in part.column_names:  # the hour that came twice on the third of November
        once &= ~pd.DataFrame({"origin": part["origin"].to_pandas(), "at": instants}).duplicated()
    columns = {
        "time_hour": pa.array(instants, part.schema.field("time_hour").type),
        DAY: pa.array([day] * len(part), pa.date32()),
        **{name: pa.array([getattr(day, name)] * len(part), pa.int32()) for name in ("year", "month", "day")},
    }
    for name, values in columns.items():
        part = part.set_column(part.column_names.index(name), name, values)
    return part.filter(pa.array(once))


def validate(home: Path, copies: int) -> dict[str, Any]:
    """Validate all days in this process."""
    from pipelines.steps import execute

    context = context_over(home, copies)
    window = {"start": context.usecase.start.isoformat(), "end": END.isoformat()}
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    outputs = execute("validate", window, context)
    done = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": done.ru_utime + done.ru_stime - used.ru_utime - used.ru_stime,
        "peak_mb": done.ru_maxrss / 1024,
        "verdict": outputs["verdict"],
        "quarantined": {name: sum(found.values()) for name, found in outputs["quarantined"].items() if found},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 3, 10, 30])
    parser.add_argument("--home", type=Path, help="where copies lie; by default a temporary folder for each size")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(validate(given.home, given.only)))
        return
    lines = []
    for copies in given.copies:
        home = given.home or Path(tempfile.mkdtemp(prefix="flightdeck-"))
        rows = write_copies(home, copies)
        command = [sys.executable, "-m", "benchmarks.validation", "--only", str(copies), "--home", str(home)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        seen = json.loads(run.stdout.strip().splitlines()[-1])
        lines.append(
            f"| {copies} | {rows:,} | {seen['seconds']:.1f} | {seen['cpu']:.1f} | "
            f"{1e6 * seen['seconds'] / rows:.1f} | {seen['peak_mb']:.0f} | {seen['verdict']} | {seen['quarantined']} |"
        )
        print(lines[-1], flush=True)
        if not given.home:
            shutil.rmtree(home)
    RESULTS.write_text(
        "# The validation step over copies of the year\n\n"
        f"`python -m benchmarks.validation --copies {' '.join(map(str, given.copies))}`\n\n"
        f"Machine: 2 cores, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"great_expectations {version('great_expectations')}, duckdb {version('duckdb')}. "
        "Imports are within the time (3 s).\n\n"
        "| copies | rows of the daily tables | seconds | CPU seconds | µs a row | peak MB | verdict | quarantined |\n"
        "|---|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
