"""The cost of a snapshot where one day of many changed: ours against plain `dvc add` and `dvc push`.

    python -m benchmarks.data_versions [--files 30000] [--days 3] [--home DIR]

Writes FILES small Parquet partitions of three tables, twice, and takes snapshots of both copies in turn: the first, one
after each of DAYS in which a partition of every table was replaced, and one where nothing changed. The plain way hashes
the folder, then calls DVC's own `add` and `push`. Then versions are compared and restored. Removes what it wrote.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.ground import Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.context import build_context
from pipelines.ingestion.versions import version_of
from pipelines.steps import execute

GROUND = Ground("benchmarks.data_versions")
TABLES = ("departures", "weather", "schedules")
ROWS = 20
Times = dict[str, list[tuple[float, float]]]  # wall and CPU seconds, by kind of snapshot


def write(raw: Path, table: str, number: int, value: float) -> None:
    """One partition, renamed into place."""
    path, beside = raw / table / f"{number:06}.parquet", raw.parent / "beside"
    rows = pa.table({"number": np.full(ROWS, number), "value": np.full(ROWS, value) + np.arange(ROWS)})
    pq.write_table(rows, beside, compression="zstd")
    os.replace(beside, path)


def fill(raw: Path, files: int) -> None:
    for table in TABLES:
        (raw / table).mkdir(parents=True)
        for number in range(files // len(TABLES)):
            write(raw, table, number, 0.5)


def plain(raw: Path) -> str:
    """The data version by DVC's own commands, in a repository without git at the folder's parent."""
    from dvc.repo import Repo

    root = raw.parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not (root / ".dvc").exists():
            Repo.init(str(root), no_scm=True).close()
            with Repo(str(root)) as repo, repo.config.edit() as config:
                config["remote"]["versions"] = {"url": str(root / "remote")}
                config["core"].update(remote="versions", site_cache_dir=str(root / ".dvc" / "site"))
        version, _ = version_of(raw)
        with Repo(str(root)) as repo:
            repo.add(str(raw))
            repo.push(targets=[f"{raw}.dvc"])
    return version


def timed(work: Callable[[], object]) -> tuple[float, float, object]:
    """Wall and CPU seconds, and the result of the work."""
    started, began = time.perf_counter(), time.process_time()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        done = work()
    return time.perf_counter() - started, time.process_time() - began, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=30_000)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--home", type=Path, help="where to write (default: the folder of temporary files)")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(dir=arguments.home))
    try:
        report = measure(home, arguments.files, arguments.days)
    finally:
        shutil.rmtree(home)
    save(RESULTS / "data_versions.md", report, GROUND)


def measure(home: Path, files: int, days: int) -> str:
    from pipelines.console import data

    context = build_context("params.yaml", home / "ours")
    folders = {"plain DVC": home / "plain" / "raw", "snapshot step": Path(context.data.uri("raw"))}
    ways: dict[str, Callable[[], object]] = {
        "plain DVC": lambda: plain(folders["plain DVC"]),
        "snapshot step": lambda: execute("snapshot", {}, context)["data_version"],
    }
    for folder in folders.values():
        fill(folder, files)
    snapshots = take_in_turn(ways, folders, days)
    known = [one.version for one in context.snapshots.taken()]
    compared, *_ = timed(lambda: data.diff([known[0], known[-1]], context))
    restored, *_ = timed(lambda: data.restore(known[0], None, str(home / "back"), context))
    assert version_of(home / "back")[0] == known[0]
    lines = [
        "# Snapshots of a folder of which one day changed",
        "",
        f"`python -m benchmarks.data_versions --files {files} --days {days}`",
        "",
        f"Machine: {machine('dvc')}. {files} partitions of {ROWS} rows in {len(TABLES)} tables; a local folder as DVC",
        f"remote. Load average at the end: {os.getloadavg()[1]:.1f}. Both ways in turn; seconds, median.",
        "",
        *table(snapshots, days),
        "",
        f"Both ways gave the same versions. Comparing the first and the last: {compared:.1f} s. Restoring the first",
        f"from the cache, hashed again: {restored:.1f} s.",
        "",
    ]
    return "\n".join(lines)


def take_in_turn(ways: Mapping[str, Callable[[], object]], folders: Mapping[str, Path], days: int) -> dict[str, Times]:
    """Take and time every snapshot in both ways: the first, one after each changed day, one without a change."""
    seconds: dict[str, Times] = {way: {"first": [], "changed": [], "same": []} for way in ways}
    for what, times in (("first", 1), ("changed", days), ("same", 1)):
        for day in range(times):
            versions = set()
            for way, snapshot in ways.items():
                for name in TABLES if what == "changed" else ():
                    write(folders[way], name, day, 1.5)
                wall, processor, version = timed(snapshot)
                seconds[way][what].append((wall, processor))
                versions.add(version)
            assert len(versions) == 1, f"the two ways disagree: {versions}"
    return seconds


def table(snapshots: Mapping[str, Times], days: int) -> list[str]:
    """The medians of each kind of snapshot in both ways, the plain one first."""
    lines = [
        "| snapshot | plain DVC, wall | ours, wall | times | plain DVC, processor | ours, processor | times |",
        "|---|---|---|---|---|---|---|",
    ]
    names = {"first": "the first", "changed": f"one day changed, {days} times", "same": "no change"}
    for what, name in names.items():
        cells = []
        for kind in (0, 1):
            old, new = (statistics.median(one[kind] for one in times[what]) for times in snapshots.values())
            cells += [f"{old:.1f}", f"{new:.1f}", f"{old / new:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
