"""Declared features against handmade ones, and over a million keys.

    python -m benchmarks.declared_features [--days 364] [--repeat 5] [--customers 1000000] [--orders 10] [--work DIR]

First every trailing view of the flights, declared and handmade (`benchmarks.handmade`), in turns, from the same tables
in memory; both must give the same bytes. Then the views of `examples.shop`, by the step `build_features` in a process
of its own, from a year of order lines of CUSTOMERS customers. Writes benchmarks/results/declared_features.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import children, handmade
from benchmarks.ground import FLIGHTS, ROOT, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.configuration import load_params
from pipelines.context import build_context
from pipelines.declare.tables import feature_rows
from pipelines.sources import read_window
from pipelines.steps import execute
from pipelines.usecases.flights import USECASE
from pipelines.windows import Window

GROUND = Ground("benchmarks.declared_features", ("source", "sources"), FLIGHTS)
START, YEAR = date(2024, 1, 1), 366
SHOP = "usecase: examples.shop\n"
BARS = {"ratio": 1.2, "minutes": 5, "gigabytes": 4.0}


def seconds(build: Callable[[], pa.Table]) -> tuple[float, float]:
    """Wall and CPU."""
    began, spent = time.perf_counter(), time.process_time()
    build()
    return time.perf_counter() - began, time.process_time() - spent


def against_handmade(days: int, repeat: int) -> tuple[list[str], float]:
    """Rows of the result's table, and the ratio of the CPU times over all views."""
    window = Window(USECASE.start, USECASE.start + timedelta(days), USECASE.timezone)
    params = load_params(ROOT / "params.yaml")
    tables = {table.name: read_window(params, USECASE, table, window) for table in USECASE.tables}
    declared = {table.name: table for table in USECASE.feature_tables}
    lines, totals = [], np.zeros(4)
    for name, by_hand in handmade.VIEWS.items():
        sides = [partial(feature_rows, USECASE, declared[name], tables, window), partial(by_hand, tables, window)]
        ours, theirs = (side().combine_chunks() for side in sides)
        assert ours.equals(theirs) and ours.schema.equals(theirs.schema, check_metadata=True), name
        runs = [[seconds(side) for side in sides] for _ in range(repeat)]
        wall, cpu = ([median(run[side][kind] for run in runs) for side in (0, 1)] for kind in (0, 1))
        totals += [*wall, *cpu]
        lines.append(_line(f"`{name}`", f"{ours.num_rows:,}", wall, cpu))
        print(lines[-1], flush=True)
    lines.append(_line("all", "", totals[:2], totals[2:]))
    return lines, float(totals[2] / totals[3])


def _line(name: str, rows: str, wall: Any, cpu: Any) -> str:
    return f"| {name} | {rows} | {wall[0]:.2f} | {wall[1]:.2f} | {cpu[0]:.2f} | {cpu[1]:.2f} | {cpu[0] / cpu[1]:.2f}x |"


def prepare(home: Path, customers: int, orders: int) -> int:
    """Write validated order lines of a year, day by day; gives the number of lines."""
    context = build_context(home / "shop.yaml", home)
    draw, total = np.random.default_rng(5), 0
    for number in range(YEAR):
        day, rows = START + timedelta(number), customers * orders // YEAR
        begins = context.calendar.start_at(day)
        seconds_of_day = np.sort(draw.integers(8 * 3600, 20 * 3600, rows))
        at = np.datetime64(begins.replace(tzinfo=None), "us") + seconds_of_day.astype("timedelta64[s]")
        table = pa.table(
            {
                "order_id": [f"{number}-{n}" for n in range(rows)],
                "customer": pa.array(np.char.add("C", draw.integers(0, customers, rows).astype(str))),
                "channel": pa.array(draw.choice(["web", "phone", "till"], rows)),
                "item": pa.array(np.char.add("I", draw.integers(0, 5_000, rows).astype(str))),
                "line": pa.array(np.ones(rows, dtype=np.int32)),
                "pieces": pa.array(draw.integers(1, 5, rows).astype(np.int32)),
                "price": pa.array(draw.integers(99, 9_999, rows) / 100),
                "ordered_at": pa.array(at).cast(pa.timestamp("us", "UTC")),
                "local_day": pa.array([day] * rows, pa.date32()),
            }
        )
        context.data.store.write_table(context.data.partition("validated", "lines", day), table)
        total += rows
    return total


def measure(home: Path) -> None:
    """In a process of its own, build all features, and print seconds, rows and peak memory."""
    context = build_context(home / "shop.yaml", home)
    began = time.perf_counter()
    rows = execute("build_features", {"start": str(START), "end": str(START + timedelta(YEAR))}, context)["rows"]
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    spent = cpu.ru_utime + cpu.ru_stime
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu": spent, "rows": rows, "gb": children.peak()}))


def many_keys(work: str | None, customers: int, orders: int) -> tuple[dict[str, Any], int]:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        home = Path(folder)
        (home / "shop.yaml").write_text(SHOP)
        lines = prepare(home, customers, orders)
        command = [sys.executable, "-m", "benchmarks.declared_features", "--measure", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1]), lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--days", type=int, default=364)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--orders", type=int, default=10, help="a customer")
    parser.add_argument("--work", default=None)
    parser.add_argument("--measure", default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(Path(asked.measure))
        return
    lines, ratio = against_handmade(asked.days, asked.repeat)
    seen, read = many_keys(asked.work, asked.customers, asked.orders)
    rows = seen["rows"]
    is_met = ratio <= BARS["ratio"], seen["seconds"] <= 60 * BARS["minutes"] and seen["gb"] < BARS["gigabytes"]
    met = ["met" if one else "**not met**" for one in is_met]
    options = f"--days {asked.days} --repeat {asked.repeat} --customers {asked.customers} --orders {asked.orders}"
    text = [
        "# Declared features",
        f"\n`python -m benchmarks.declared_features {options}`.\nMachine: {machine('duckdb', 'numpy', 'pyarrow')}.",
        "\n## Against those built by hand\n",
        f"The trailing views of the flights, {asked.days} days, from tables in memory to rows; the same bytes on both",
        f"sides. Seconds: medians of {asked.repeat} runs in turn.\n",
        "| view | rows | declared, s | by hand, s | declared, CPU s | by hand, CPU s | ratio of CPU |",
        "|---|---|---|---|---|---|---|",
        *lines,
        f"\nBar: at most {BARS['ratio']}x for all; {met[0]}.",
        "\n## Many keys\n",
        f"`build_features` of `examples.shop` over a year: {read:,} order lines of {asked.customers:,} customers; it",
        "reads validated partitions and writes one of each view a day. Orders, spent and mean basket of 30 and 90 days",
        "and the last order by customer, at every instant at which one changes; pieces, mean price and distinct buyers",
        "of 28 days by item, as each day begins.\n",
        "| rows by customer | rows by item | seconds | CPU s | peak of memory, GB |",
        "|---|---|---|---|---|",
        f"| {rows['customer_orders']:,} | {rows['item_sales']:,} | {seen['seconds']:.0f} | {seen['cpu']:.0f} | "
        f"{seen['gb']:.1f} |",
        f"\nBar: at most {BARS['minutes']} minutes and less than {BARS['gigabytes']:g} GB; {met[1]}.",
    ]
    save(RESULTS / "declared_features.md", "\n".join(text), GROUND)


if __name__ == "__main__":
    main()
