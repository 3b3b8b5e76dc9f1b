"""Memory and time to measure a view's health, by the number of rows in its window.

    python -m benchmarks.feature_health [--rows 1000000 10000000]

Writes a window of 365 daily partitions and 28 more before it, two keys and four features, 16 million entities at most;
measures each size in a process of its own, whose peak of resident memory is taken, and writes
benchmarks/results/feature_health.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import children
from benchmarks.ground import ROOT, Ground
from benchmarks.report import RESULTS, machine, save

GROUND = Ground("benchmarks.feature_health")
END, DAYS, BEFORE = datetime(2024, 1, 1, tzinfo=UTC), 365, 28


def write(folder: Path, rows: int) -> None:
    draw = np.random.default_rng(0)
    for number in range(DAYS + BEFORE):
        day = END - timedelta(days=number + 1)
        size = rows // DAYS
        seconds = np.sort(draw.integers(0, 86_400, size))
        columns = {
            "site": draw.integers(0, 4000, size).astype(str),
            "unit": draw.integers(0, 4000, size).astype(str),
            "known_at": pa.array(np.datetime64(day.replace(tzinfo=None), "us") + seconds * 1_000_000).cast(
                pa.timestamp("us", "UTC")
            ),
            **{f"f{n}": draw.normal(size=size).astype(np.float32) for n in range(4)},
        }
        pq.write_table(pa.table(columns), folder / f"{day:%Y-%m-%d}.parquet", compression="zstd")


def measured(folder: Path) -> None:
    """Measure, and print seconds and memory; run in a process of its own."""
    from pipelines.features.health import View, engine, measure

    files = sorted(map(str, folder.glob("*.parquet")))
    view = View("v", ("site", "unit"), tuple(f"f{n}" for n in range(4)), "known_at", timedelta(days=3), True)
    began = time.perf_counter()
    with engine() as connection:
        found = measure(connection, view, files[BEFORE:], files[:BEFORE], END)
    peak = 1000 * children.peak()
    seconds = time.perf_counter() - began
    print(json.dumps({"rows": found.rows, "entities": found.entities, "seconds": seconds, "peak": peak}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--measure", type=Path, help="a folder of partitions; used by the benchmark itself")
    asked = parser.parse_args()
    if asked.measure:
        measured(asked.measure)
        return
    lines = ["| rows | entities | seconds | peak of resident memory, MB |", "|---|---|---|---|"]
    for rows in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), rows)
            command = [sys.executable, "-m", "benchmarks.feature_health", "--measure", folder]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        lines.append(f"| {found['rows']} | {found['entities']} | {found['seconds']:.1f} | {found['peak']:.0f} |")
        print(lines[-1], flush=True)
    text = f"""# Feature health

One view of 365 daily partitions held against the 28 days before, two keys, four features; `check_features` measures one
view after the other. Each size ran in a process of its own.

{chr(10).join(lines)}

`python -m benchmarks.feature_health --rows {" ".join(map(str, asked.rows))}`, on
{machine("duckdb", load=os.getloadavg()[0])} at the end.
"""
    save(RESULTS / "feature_health.md", text, GROUND)


if __name__ == "__main__":
    main()
