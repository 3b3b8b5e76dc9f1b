"""Materialization of a year into SQLite and Redis: our step against Feast's plain `materialize`; and online reads.

    python -m benchmarks.materialize [--home DIR] [--repetitions 5]

Builds the year's features in DIR (kept; a temporary folder by default), materializes all views into empty online
stores, each way in a process of its own, reads every entity back through Feast's `get_online_features`, compares, and
writes benchmarks/results/materialize.md. A Redis is started on a free port of 127.0.0.1 and stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import point_in_time
from benchmarks.children import child
from benchmarks.ground import BUILT, FLIGHTS, ROOT, Ground
from benchmarks.redis_server import running_redis
from benchmarks.report import RESULTS, machine, save
from pipelines.context import Context, build_context
from pipelines.instants import MICROSECOND, midnight
from pipelines.online import OnlineReader
from pipelines.steps import execute

PACKAGES = ("feast", "duckdb", "pandas", "pyarrow", "dask", "redis")
WAYS = {
    "step": "our step",
    "day": "our step, one more day",
    "ours": "Feast's `materialize`, our offline store",
    "duckdb": "Feast's `materialize`, its DuckDB store",
    "dask": "Feast's `materialize`, its default (Dask) store",
}


def context_at(home: Path, folder: Path, online: str) -> Context:
    """The features of one home, with a registry and an online store elsewhere."""
    context = build_context(ROOT / "params.yaml", home)
    places = {"feast_registry": f"sqlite:///{folder}/registry.db", "feast_online": online}
    return replace(context, settings=context.settings.model_copy(update=places))


def empty(folder: Path, online: str) -> str:
    """An empty online store."""
    if "://" in online:
        import redis

        redis.Redis.from_url(online).flushall()
        return online
    return str(folder / "online.db")


def feast_of(way: str, context: Context, folder: Path) -> Any:
    """A feature store with all views registered and nothing materialized."""
    if way in {"step", "day", "ours"}:
        execute("apply_features", {}, context)
        return context.feast
    online = context.feast.config.online_store.model_dump()
    return point_in_time.feasts_store(context, way, folder, online, streamed=True)


def run_child(home: Path, way: str, online: str, repetitions: int) -> dict[str, Any]:
    folders = tempfile.mkdtemp()
    stores: Iterator[Any] = prepared(home, way, online, Path(folders))
    taken = []
    try:
        for _ in range(1 + repetitions):
            context, feast = next(stores)
            end = midnight(context.usecase.end, context.usecase.timezone)
            if way == "day":
                execute("materialize", {"as_of": (end - timedelta(days=1)).isoformat()}, context)
            began = time.perf_counter(), time.process_time()
            if way in {"step", "day"}:
                execute("materialize", {"as_of": end.isoformat()}, context)
            else:
                start = midnight(context.usecase.start, context.usecase.timezone)
                with contextlib.redirect_stdout(io.StringIO()):
                    feast.materialize(start_date=start, end_date=end - MICROSECOND)
            taken.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        digest, values = read_back(context, feast)
        reads = one_row(context, end) if way == "step" else {}
    finally:
        shutil.rmtree(folders)
    wall, cpu = zip(*taken[1:], strict=True)
    return {
        "seconds": statistics.median(wall),
        "cpu": statistics.median(cpu),
        "all": [round(seconds, 3) for seconds in wall],
        "values": values,
        "sha256": digest,
        "reads": reads,
        "load": os.getloadavg()[0],
    }


def prepared(home: Path, way: str, online: str, folders: Path) -> Iterator[tuple[Context, Any]]:
    for number in range(10**6):
        folder = folders / str(number)
        folder.mkdir()
        context = context_at(home, folder, empty(folder, online))
        yield context, feast_of(way, context, folder)


def entities_of(context: Context) -> dict[str, list[dict[str, Any]]]:
    """Every entity of every view, from the features."""
    from pipelines.offline.reading import latest_rows
    from pipelines.offline.sources import keys_of, source_of

    end = midnight(context.usecase.end, context.usecase.timezone)
    return {
        view.name: latest_rows(context.feast.config, source_of(view), keys_of(view), [], None, end)
        .select(keys_of(view))
        .to_pylist()
        for view in context.feast.list_feature_views()
    }


def read_back(context: Context, feast: Any) -> tuple[str, int]:
    """A hash of all values that Feast's `get_online_features` returns, and their number."""
    execute("apply_features", {}, context)  # the names of views and entities
    told, values = hashlib.sha256(), 0
    for view in sorted(context.feast.list_feature_views(), key=lambda view: str(view.name)):
        names = [field.name for field in view.features]
        entities = entities_of(context)[view.name]
        answer = feast.get_online_features([f"{view.name}:{name}" for name in names], entities)
        stamps = [[(t.seconds) for t in result.event_timestamps] for result in answer.proto.results[-len(names) :]]
        columns = answer.to_dict()
        told.update(json.dumps([[columns[name] for name in names], stamps]).encode())
        values += len(names) * len(entities)
    return told.hexdigest(), values


def one_row(context: Context, as_of: datetime) -> dict[str, Any]:
    """Milliseconds to read all views for one row, and for a hundred, by our reader and by Feast."""
    feast = context.feast
    projections = feast.get_feature_service(context.params.features.service).feature_view_projections
    refs = [f"{view.name}:{field.name}" for view in projections for field in view.features]
    entities = entities_of(context)
    rows = [
        {key: value for of_view in entities.values() for key, value in of_view[n % len(of_view)].items()}
        for n in range(100)
    ]
    reader, seen = OnlineReader(feast, refs), {}
    for count in (1, 100):
        asked = rows[:count]
        for name, read in (
            ("ours", lambda asked=asked: reader.read(asked, as_of)),
            ("feast", lambda asked=asked: feast.get_online_features(refs, asked).to_dict()),
        ):
            for _ in range(20):
                read()
            times = []
            for _ in range(1000 if count == 1 else 100):
                began = time.perf_counter()
                read()
                times.append((time.perf_counter() - began) * 1000)
            cuts = statistics.quantiles(times, n=100)
            seen[f"{name} {count}"] = [cuts[49], cuts[94]]
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", default=None)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--child", nargs=4, metavar=("HOME", "WAY", "ONLINE", "REPETITIONS"))
    arguments = parser.parse_args()
    if arguments.child:
        home, way, online, repetitions = arguments.child
        print(json.dumps(run_child(Path(home), way, online, int(repetitions))))
        return
    seen: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary, running_redis(Path(temporary)) as port:
        home = Path(arguments.home or temporary).absolute()
        context = build_context(ROOT / "params.yaml", home)
        point_in_time.prepare(context)
        for kind, online in (("SQLite", "sqlite"), ("Redis", f"redis://127.0.0.1:{port}")):
            for way in WAYS:
                found = child("benchmarks.materialize", str(home), way, online, str(arguments.repetitions))
                assert found is not None
                seen.setdefault(kind, {})[way] = found
                print(kind, way, found)
    service = context.params.features.service  # which has all views
    ground = Ground("benchmarks.materialize", (*BUILT, "features.service"), FLIGHTS, (service,))
    save(RESULTS / "materialize.md", report(seen, arguments.repetitions), ground)


def report(seen: dict[str, dict[str, Any]], times: int) -> str:
    values = seen["SQLite"]["step"]["values"]
    lines = [
        "# Materialization of a year",
        "",
        f"All views, {values:,} values, into an online store that is empty; each way in a process of its own, one",
        f"warm-up, then the median of {times}. What comes back through Feast's `get_online_features` for every entity,",
        "values and timestamps, is compared with what our step left.",
        "",
        "| online store | way | seconds | CPU seconds | all | read back | our step is faster |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, ways in seen.items():
        for way, name in WAYS.items():
            f, step = ways[way], ways["step"]
            same = "the same" if f["sha256"] == step["sha256"] else "DIFFERENT"
            times_faster = "" if way in {"step", "day"} else f"{f['seconds'] / step['seconds']:.1f} x"
            lines.append(
                f"| {kind} | {name} | {f['seconds']:.2f} | {f['cpu']:.2f} | {f['all']} | {same} | {times_faster} |"
            )
    lines += [
        "",
        "## Reading the features of a request",
        "",
        "All views of the service, in milliseconds.",
        "",
        "| online store | rows | our reader p50 | p95 | `get_online_features` p50 | p95 |",
        "|---|---|---|---|---|---|",
    ]
    for kind, ways in seen.items():
        for count in (1, 100):
            reads = ways["step"]["reads"]
            cells = " | ".join(f"{ms:.2f}" for name in ("ours", "feast") for ms in reads[f"{name} {count}"])
            lines.append(f"| {kind} | {count} | {cells} |")
    load = statistics.mean(found["load"] for ways in seen.values() for found in ways.values())
    lines += ["", f"`python -m benchmarks.materialize --repetitions {times}`, on {machine(*PACKAGES, load=load)}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
