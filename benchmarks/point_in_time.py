"""Point-in-time join of a year: our offline store, Feast's own two, and the same as-of join by hand.

    python -m benchmarks.point_in_time [--home DIR] [--repetitions 5]

Builds the year's features in DIR (kept; a temporary folder by default), reads through Feast's API the batch views for
every example of the year, each way in a process of its own, compares the values, and writes
benchmarks/results/point_in_time.md. Feast's default store gets as many rows as it can hold in 8.5 GB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import year
from benchmarks.children import child, measure
from benchmarks.ground import BUILT, FLIGHTS, ROOT, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.context import Context, build_context
from pipelines.request_columns import with_features
from pipelines.usecase import EXAMPLE_ID, PREDICTED_AT

PACKAGES = ("feast", "duckdb", "pandas", "pyarrow", "dask")
BATCH = {"aircraft_profile", "carrier_stats", "route_stats", "dest_stats", "weather_observed", "congestion"}
MEMORY = 8.5  # GB that a store may take
STEPS = (250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 336776)
WAYS = {
    "ours": "our store, through Feast",
    "hand": "the as-of joins by hand, in DuckDB",
    "duckdb": "Feast's DuckDB store",
    "dask": "Feast's default (Dask) store",
}


def prepare(context: Context) -> None:
    """The year's features and examples."""
    usecase = context.usecase
    year.prepare(context)
    examples = Path(context.data.uri("examples.parquet"))
    if not examples.exists():
        from pipelines.point_in_time import load_examples

        frame = load_examples(context, context.window(usecase.start, usecase.end)).to_pandas()
        frame[list(usecase.request_keys)] = with_features(usecase, frame)[list(usecase.request_keys)]
        frame.to_parquet(examples)


def views(context: Context, streamed: bool = False) -> tuple[list[Any], list[Any]]:
    """The declared entities and batch views, or all views."""
    from feast import Entity, FeatureView

    from pipelines.offline.repository import declarations_of

    declared = declarations_of(context.usecase)
    entities = [value for value in declared if isinstance(value, Entity)]
    return entities, [v for v in declared if isinstance(v, FeatureView) and (streamed or v.name in BATCH)]


def feasts_store(
    context: Context, kind: str, folder: Path, online: dict[str, Any] | None = None, streamed: bool = False
) -> Any:
    """A feature store over the same files with one of Feast's own offline stores."""
    from feast import FeatureStore, FeatureView, FileSource, RepoConfig

    entities, declared = views(context, streamed)
    store = FeatureStore(
        config=RepoConfig(
            project=context.usecase.name,
            provider="local",
            registry=str(folder / "feasts_registry.db"),
            online_store=online or {"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": kind},
            entity_key_serialization_version=3,
        )
    )
    store.apply(entities)
    for view in declared:
        place = Path(context.data.uri("features", view.name)).absolute()
        path = str(place / "*.parquet") if kind == "duckdb" else str(place)
        source = FileSource(name=view.name, path=path, timestamp_field=view.batch_source.timestamp_field)
        of_view = [entity for entity in entities if entity.name in view.entities]
        store.apply(FeatureView(name=view.name, entities=of_view, ttl=view.ttl, schema=view.schema, source=source))
    return store


def by_hand(context: Context, examples: pd.DataFrame) -> Callable[[], pd.DataFrame]:
    """The SQL that one would write by hand for these views."""
    import duckdb

    _, declared = views(context)
    columns, joins = ["e.*"], []
    for n, view in enumerate(declared):
        files = context.data.uri("features", view.name, "*.parquet")
        on = " and ".join(f"v{n}.{entity.name} = e.{entity.name}" for entity in view.entity_columns)
        known = f"v{n}.{view.batch_source.timestamp_field}"
        joins.append(f"asof left join '{files}' v{n} on {on} and {known} <= e.event_timestamp")
        fresh = (
            f"{known} >= e.event_timestamp - interval {int(view.ttl.total_seconds())} seconds" if view.ttl else "true"
        )
        columns += [f"case when {fresh} then v{n}.{field.name} end as {field.name}" for field in view.features]
    sql = f"select {', '.join(columns)} from examples e {' '.join(joins)}"

    def query() -> pd.DataFrame:
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.register("examples", examples)
            frame: pd.DataFrame = connection.sql(sql).df()
            return frame

    return query


def run_child(context: Context, way: str, rows: int, repetitions: int) -> dict[str, Any]:
    _, declared = views(context)
    names = [field.name for view in declared for field in view.features]
    examples = pd.read_parquet(context.data.uri("examples.parquet")).rename(columns={PREDICTED_AT: "event_timestamp"})
    examples = examples.sample(min(rows, len(examples)), random_state=1).sort_index().reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        if way == "hand":
            ask = by_hand(context, examples)
        else:
            store = context.feast if way == "ours" else feasts_store(context, way, Path(folder))
            refs = [f"{view.name}:{field.name}" for view in declared for field in view.features]

            def ask() -> pd.DataFrame:
                frame: pd.DataFrame = store.get_historical_features(entity_df=examples, features=refs).to_df()
                return frame

        seen = measure(ask, repetitions, warm_up=1 if repetitions > 1 else 0)
    values = seen.pop("result").sort_values(EXAMPLE_ID)[[EXAMPLE_ID, *names]].astype(dict.fromkeys(names, "float32"))
    digest = hashlib.sha256(pd.util.hash_pandas_object(values, index=False).to_numpy().tobytes()).hexdigest()
    asked = {"rows": len(values), "views": len(declared), "features": len(names)}
    return {**seen, **asked, "sha256": digest, "load": os.getloadavg()[0]}


def largest_for_dask(home: Path, repetitions: int) -> tuple[dict[str, Any], int | None]:
    """Feast's default store at the largest number of STEPS that fits its memory, and the next one, which does not."""
    best: dict[str, Any] | None = None
    for rows in STEPS:
        seen = child("benchmarks.point_in_time", "dask", str(home), str(rows), "1", memory=MEMORY)
        print("dask", rows, seen)
        if seen is None:
            assert best is not None
            return best, rows
        best = seen
    assert best is not None
    return best, None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", default=None)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--child", nargs=4, metavar=("WAY", "HOME", "ROWS", "REPETITIONS"))
    arguments = parser.parse_args()
    if arguments.child:
        way, home, rows, repetitions = arguments.child
        context = build_context(ROOT / "params.yaml", home)
        print(json.dumps(run_child(context, way, int(rows), int(repetitions))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(arguments.home or temporary).absolute()
        context = build_context(ROOT / "params.yaml", home)
        prepare(context)
        tell = ("benchmarks.point_in_time",)
        seen = {}
        for way in ("duckdb", "hand", "ours"):
            found = child(*tell, way, str(home), str(10**9), str(arguments.repetitions))
            assert found is not None
            seen[way] = found
            print(way, found)
        dask, too_many = largest_for_dask(home, arguments.repetitions)
        few = child(*tell, "ours", str(home), str(dask["rows"]), str(arguments.repetitions))
        assert few is not None
    service = context.params.features.service  # which has all views
    ground = Ground("benchmarks.point_in_time", (*BUILT, "features.service"), FLIGHTS, (service,))
    save(RESULTS / "point_in_time.md", report(seen, dask, too_many, few, arguments.repetitions), ground)


def report(seen: dict[str, Any], dask: dict[str, Any], too_many: int | None, few: dict[str, Any], times: int) -> str:
    ours, hand, duckdb = seen["ours"], seen["hand"], seen["duckdb"]
    same = "equal" if len({found["sha256"] for found in seen.values()}) == 1 else "DIFFERENT"
    same_few = "equal" if few["sha256"] == dask["sha256"] else "DIFFERENT"
    grown = {way: found["peak"] - found["before"] for way, found in seen.items()}
    load = sum(found["load"] for found in seen.values()) / len(seen)
    lines = [
        "# Point-in-time join of a year",
        "",
        f"{ours['rows']:,} examples, {ours['views']} batch views with {ours['features']} features, a Parquet file a",
        "day and view; pandas in, pandas out.",
        f"Each way in a process of its own: one warm-up, then the median of {times}. Peak memory is that of the whole",
        "process, which before the join already holds Python, Feast and the examples; what the join adds is beside it.",
        "",
        "| way | seconds | CPU seconds | all | peak GB | before GB | added GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in ("ours", "hand", "duckdb"):
        f = seen[way]
        lines.append(
            f"| {WAYS[way]} | {f['seconds']:.2f} | {f['cpu']:.2f} | {f['all']} | {f['peak']:.2f} | {f['before']:.2f} "
            f"| {grown[way]:.2f} |"
        )
    holds = f"{too_many:,} rows took more than {MEMORY} GB" if too_many else "it held all rows"
    lines += [
        "",
        f"The values are {same}.",
        "",
        "| bar | wanted | seen |",
        "|---|---|---|",
        f"| faster than Feast's DuckDB store | 15 x | {duckdb['seconds'] / ours['seconds']:.1f} x |",
        f"| the same in CPU seconds | | {duckdb['cpu'] / ours['cpu']:.1f} x |",
        f"| time of the join by hand | at most 2 x | {ours['seconds'] / hand['seconds']:.2f} x |",
        f"| the same in CPU seconds | | {ours['cpu'] / hand['cpu']:.2f} x |",
        f"| memory that the join adds, of Feast's DuckDB store | at most 1/3 | {grown['ours'] / grown['duckdb']:.2f} |",
        f"| peak memory of the process, of Feast's DuckDB store | at most 1/3 | {ours['peak'] / duckdb['peak']:.2f} |",
        f"| faster than Feast's default store at {dask['rows']:,} rows | 100 x "
        f"| {dask['seconds'] / few['seconds']:.0f} x |",
        "",
        f"Feast's default store: {dask['seconds']:.1f} s and {dask['peak']:.2f} GB for {dask['rows']:,} rows; for them",
        f"ours takes {few['seconds']:.3f} s; {holds}. Its values are {same_few} to ours. It was given {MEMORY} GB, no",
        "more, since the machine was shared.",
        "",
        f"`python -m benchmarks.point_in_time --repetitions {times}`, on {machine(*PACKAGES, load=load)}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
