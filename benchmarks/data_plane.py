"""Time and memory of ingestion, validation and features, for one year of flights and for many.

    python -m benchmarks.data_plane [--copies 1,3,10,30] [--work DIR]

Writes the copies to DIR (kept; a temporary folder by default), runs each step as a process of its own over all of their
days, takes its time and its peak of resident memory, and writes benchmarks/results/data_plane.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ground import FLIGHTS, ROOT, Ground
from benchmarks.many_years import DAYS, USECASE, write_copies
from benchmarks.report import RESULTS, machine, save
from pipelines.configuration import load

GROUND = Ground("benchmarks.data_plane", ("validation",), FLIGHTS)
STEPS = ("ingest", "validate", "build_features")


def measured(step: str, params: Path, home: Path, copies: int) -> dict[str, Any]:
    """One step over all days of a number of copies: wall and CPU seconds, peak MB, and its outputs."""
    start = USECASE.end - timedelta(DAYS * copies)
    command = [sys.executable, "-m", "pipelines", step, "--params", str(params), "--home", str(home)]
    command += ["--start", str(start), "--end", str(USECASE.end)]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{step} of {copies} copies failed with status {process.returncode}")
    seconds, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu": cpu, "mb": usage.ru_maxrss / 1024, "outputs": json.loads(said)}


def run(copies: int, work: Path) -> dict[str, dict[str, Any]]:
    source, home = work / f"source-{copies}", work / f"home-{copies}"
    shutil.rmtree(home, ignore_errors=True)
    # In another process, since the system counts the peak of a parent into that of its children.
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
        elsewhere.submit(write_copies, source, copies).result()
    raw = load(ROOT / "params.yaml").in_force()
    files = {"kind": "files", "uri": f"{source}/{{table}}-*.*", "null_values": ["", "NA"]}
    raw |= {"usecase": "benchmarks.many_years", "source": files}
    params = work / f"params-{copies}.yaml"
    params.write_text(yaml.safe_dump(raw))
    found = {}
    for step in STEPS:
        found[step] = measured(step, params, home, copies)
        print(f"{copies} copies, {step}: {found[step]['seconds']:.1f} s, {found[step]['mb']:.0f} MB", flush=True)
    shutil.rmtree(source)
    return found


def growth(results: dict[int, dict[str, dict[str, Any]]]) -> float:
    """The exponent e of time ~ rows^e between the fewest and the most copies."""
    few, many = min(results), max(results)
    seconds = {n: sum(step["seconds"] for step in results[n].values()) for n in (few, many)}
    return math.log(seconds[many] / seconds[few]) / math.log(many / few)


def report(results: dict[int, dict[str, dict[str, Any]]], command: str) -> str:
    head = " | ".join(f"{step} s | CPU s | MB" for step in STEPS)
    lines = ["# The data plane, from one year of flights to many", ""]
    lines += ["Every step is a process of its own over all days at once; MB is its peak of resident memory.", ""]
    lines += [f"| years | flights | {head} | all s | growth |", "|---" * (4 + 3 * len(STEPS)) + "|"]
    base = min(results)
    for copies, steps in sorted(results.items()):
        flights = steps["ingest"]["outputs"]["tables"]["flights"]["rows"]
        each = " | ".join(
            f"{steps[step]['seconds']:.1f} | {steps[step]['cpu']:.1f} | {steps[step]['mb']:.0f}" for step in STEPS
        )
        total = sum(step["seconds"] for step in steps.values())
        more = "" if copies == base else f"rows^{growth({base: results[base], copies: steps}):.2f}"
        lines.append(f"| {copies} | {flights:,} | {each} | {total:.1f} | {more} |")
    lines += ["", f"`{command}`, on {machine('duckdb', 'pyarrow', 'great-expectations')}.", ""]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--copies", default="1,3,10,30")
    parser.add_argument("--work", default=None)
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(asked.work or temporary).absolute()
        work.mkdir(parents=True, exist_ok=True)
        results = {int(copies): run(int(copies), work) for copies in asked.copies.split(",")}
    text = report(results, f"python -m benchmarks.data_plane --copies {asked.copies}")
    save(RESULTS / "data_plane.md", text, GROUND)


if __name__ == "__main__":
    main()
