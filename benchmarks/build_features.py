"""build_features over copies of the year: time by feature table, and the memory that it takes.

    python -m benchmarks.build_features --years 30 [--work DIR]

Copies precede each other by 364 days, so that days of the week stay. Writes
benchmarks/results/build_features.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import children
from benchmarks.ground import BUILT, FLIGHTS, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.context import Context, build_context
from pipelines.steps import execute

GROUND = Ground("benchmarks.build_features", BUILT, FLIGHTS)
YEAR, END = timedelta(days=364), date(2013, 12, 31)


def over(home: Path, years: int) -> Context:
    """The flights as if their source had begun earlier."""
    context = build_context(home=home)
    usecase: Any = context.usecase
    return replace(context, usecase=replace(usecase, start=END - years * YEAR, end=END))


def shifted(table: pa.Table, by: timedelta) -> pa.Table:
    for name in ("local_day", "time_hour"):
        at = table.column_names.index(name)
        kind = table.schema.field(at).type
        moved = pc.subtract(table[name].cast(pa.timestamp("us", getattr(kind, "tz", None))), pa.scalar(by)).cast(kind)
        table = table.set_column(at, table.schema.field(at), moved)
    return table


def prepare(context: Context, years: int) -> int:
    """Write validated tables of the last year and of earlier copies; gives the rows of all."""
    window, rows = {"start": str(END - YEAR), "end": str(END)}, 0
    for step in ("ingest", "validate"):
        execute(step, window, context)
    for name in [table.name for table in context.usecase.tables if table.daily]:
        for day in context.data.periods("validated", name):
            table = context.data.store.read_table(context.data.partition("validated", name, day))
            rows += table.num_rows * years * (name == "flights")
            for copy in range(1, years):
                pq.write_table(
                    shifted(table, copy * YEAR), context.data.partition("validated", name, day - copy * YEAR)
                )
    return rows


def measure(home: Path, years: int, tables: list[str]) -> None:
    """In a process of its own, build feature tables, and print seconds, rows and peak resident memory."""
    context = over(home, years)
    usecase: Any = context.usecase
    chosen = tuple(table for table in usecase.feature_tables if not tables or table.name in tables)
    context = replace(context, usecase=replace(usecase, feature_tables=chosen))
    for table in chosen:  # what is there and still holds would not be built again
        shutil.rmtree(context.data.uri("features", table.name), ignore_errors=True)
    began = time.perf_counter()
    window = {"start": str(context.usecase.start), "end": str(END)}
    rows = execute("build_features", window, context)["rows"]
    told = {"seconds": time.perf_counter() - began, "rows": sum(rows.values()), "peak_mb": 1000 * children.peak()}
    print(json.dumps(told))


def measured(home: Path, years: int, *tables: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.build_features",
        "--measure",
        str(home),
        "--years",
        str(years),
        *tables,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--years", type=int, default=30)
    parser.add_argument("--work", default=None)
    parser.add_argument("--measure", default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(Path(asked.measure), asked.years, asked.tables)
        return
    lines = []
    with tempfile.TemporaryDirectory(dir=asked.work) as temporary:
        for years in sorted({1, asked.years}):
            home = Path(temporary) / str(years)
            context = over(home, years)
            flights = prepare(context, years)
            names = [table.name for table in context.usecase.feature_tables]
            for name in [*(names if years == 1 else []), "all"]:
                seen = measured(home, years, *([] if name == "all" else [name]))
                lines.append(
                    f"| {name} | {flights:,} | {seen['rows']:,} | {seen['seconds']:.1f} | {seen['peak_mb']:,.0f} |"
                )
                print(lines[-1], flush=True)
    text = [
        "# build_features",
        f"\n`python -m benchmarks.build_features --years {asked.years}`. Machine: {machine('duckdb', 'pyarrow')}.",
        "\nReading, building and writing (a file a day and table, each synced to disk). Every line is a process of its",
        "own; memory is its peak of resident memory, libraries included.\n",
        "| feature table | flights | rows built | seconds | memory, MB |",
        "|---|---|---|---|---|",
        *lines,
    ]
    save(RESULTS / "build_features.md", "\n".join(text), GROUND)


if __name__ == "__main__":
    main()
