"""The model server under a long steady load: memory, latency, errors, and rows of the log.

    python -m benchmarks.steady [--home DIR] [--minutes 15]

Each minute has 70 % of the highest rate and another plan: no challenger, one in shadow, then one at 5 to 100 %. Feature
rows are pushed meanwhile, and every third minute all views are materialized again. Fails where a call failed, the
log has another number of rows, or memory grows. Writes benchmarks/results/steady.md.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import psutil

from benchmarks.ground import FLIGHTS, ROOT, Ground
from benchmarks.load import Measured
from benchmarks.report import RESULTS, machine, save
from benchmarks.serving import PARAMS, RUNS, Bench, fill_online
from pipelines.context import build_context
from pipelines.online.sqlite import NOTES

CONNECTIONS = 16
LOAD = 0.7
PLANS: tuple[tuple[int | None, float], ...] = ((None, 0.0), (0, 0.0), (0, 0.05), (1, 0.25), (1, 0.5), (0, 1.0))
ANEW = 3  # minutes between two materializations
SETTLED = 3  # minutes after which memory is to be flat
SOUND = "No call failed, memory stays, and the log has a row for each answer and for calls that a minute's end cut off."
GROWTH = 1.1  # that counts as flat: caches and SQLite's pages grow and shrink


def materialize_anew(bench: Bench) -> None:
    """Write all views again, as another process does after the online store has lost its notes."""
    context = build_context(ROOT / "params.yaml", bench.home)
    with sqlite3.connect(str(context.feast.config.online_store.path), timeout=60) as online:
        online.execute(f"delete from {NOTES}")
    fill_online(context, "materialize")


def memory(process: psutil.Process) -> float:
    """The memory of a server with all its processes, in MB."""
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 2**20)


def measure(bench: Bench, minutes: int) -> tuple[list[tuple[Measured, float]], float, list[str]]:
    """The measurements of each minute and the memory at its end; the highest rate; and the failures."""
    faults: list[str] = []
    minute: list[tuple[Measured, float]] = []
    with bench.ours() as target:
        highest = target.put(CONNECTIONS, bench.seconds)
        pause = CONNECTIONS / (LOAD * highest.rate) * 1000 - highest.p50
        logged = bench.logged()
        for number, (challenger, share) in zip(range(minutes), cycle(PLANS), strict=False):
            bench.route(challenger, share)
            with ThreadPoolExecutor(1) as thread:
                anew = thread.submit(materialize_anew, bench) if number % ANEW == ANEW - 1 else None
                minute.append((target.put(CONNECTIONS, 60, pause), memory(target.process)))
            if anew:
                anew.result()
            print(f"minute {number + 1}: {minute[-1]}", file=sys.stderr)
        calls, rows = sum(of.calls for of, _ in minute), bench.logged() - logged
    if errors := sum(of.errors for of, _ in minute):
        faults.append(f"{errors} calls failed")
    if not 0 <= rows - calls <= CONNECTIONS * minutes:  # calls that were cut off at the end of a minute are logged too
        faults.append(f"{calls} calls were answered and {rows} logged")
    if len(minute) > SETTLED and minute[-1][1] > GROWTH * minute[SETTLED - 1][1]:
        faults.append(f"memory grew from {minute[SETTLED - 1][1]:.0f} to {minute[-1][1]:.0f} MB")
    return minute, highest.rate, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", default=None)
    parser.add_argument("--minutes", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(arguments.home or f"{temporary}/home").absolute(), Path(temporary), 10, None)
        minute, highest, faults = measure(bench, arguments.minutes)
    rows = [
        f"| {n} | {of.rate:,.0f} | {of.p50:.1f} | {of.p99:.1f} | {of.errors} | {size:.0f} |"
        for n, (of, size) in enumerate(minute, 1)
    ]
    text = f"""# The model server under a steady load

One worker, {CONNECTIONS} connections at {LOAD:.0%} of the highest rate ({highest:,.0f} calls/s in {bench.seconds:g} s),
one row a call. A minute has one plan: no challenger, one in shadow, then at 5, 25, 50 and 100 %, and so on. Rows of
features are pushed every half second; every {ANEW} minutes all views are materialized anew.

| minute | calls/s | p50 ms | p99 ms | errors | memory MB |
|---|---|---|---|---|---|
{chr(10).join(rows)}

{"; ".join(faults).capitalize() if faults else SOUND}

`python -m benchmarks.steady --minutes {arguments.minutes}`, on {machine("uvicorn", "onnxruntime")}.
"""
    ground = Ground("benchmarks.steady", PARAMS, FLIGHTS, (bench.context.params.features.service,), RUNS[:1])
    save(RESULTS / "steady.md", text, ground)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
