"""Streaming windows: differences of running sums against the range self-join, same values.

    python -m benchmarks.streaming_windows [--days 365] [--repeat 5]

Both sides read the same Arrow tables in memory and give the same rows, for every declared streaming view. The
self-join is a DuckDB query: every grid row is joined to the flights of the longest window before it, and each window is
a filtered aggregate of that one join, which is cheaper than a join for each window. Its flights become a table before.
Writes benchmarks/results/streaming_windows.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import pyarrow as pa

from benchmarks import handmade
from benchmarks.ground import FLIGHTS, ROOT, Ground
from benchmarks.handmade import DEPARTED, LANDED, LATE, LONGEST_WAIT, STATE, Trailing, state
from benchmarks.report import RESULTS, machine, save
from pipelines.configuration import load_params
from pipelines.declare.rows import connect
from pipelines.declare.tables import feature_rows
from pipelines.sources import read_window
from pipelines.usecases.flights import USECASE
from pipelines.usecases.flights.departures import DEPARTURES
from pipelines.windows import Window

GROUND = Ground("benchmarks.streaming_windows", ("source", "sources"), FLIGHTS)
BAR = 20
VIEWS = {name: made for name, made in handmade.VIEWS.items() if isinstance(made, partial) and made.func is state}

GRID = """
with flies as (select distinct {keys}, local_day + n as day from known, (values (0), (1)) as after (n)),
grid as (
    select {keys}, unnest(generate_series(
        day::timestamp::timestamptz, (day + 1)::timestamp::timestamptz - interval 1 second, interval {minutes} minutes
    )) as known_at
    from flies where day < $end::date
)"""
WINDOWS = """
{part} as (
    select {keys}, g.known_at, {counts}
    from grid g join known d using ({keys})
    where d.{at} <= g.known_at and d.{at} > g.known_at - interval {longest} hour
    group by all
)"""
COUNTS = """count(*) filter (d.{at} > g.known_at - interval {h} hour) as n{h},
    sum(d.{delay}) filter (d.{at} > g.known_at - interval {h} hour) as delay{h},
    sum((d.{delay} >= {late})::int) filter (d.{at} > g.known_at - interval {h} hour) as late{h}"""
COLUMNS = """coalesce({part}.n{h}, 0)::float as {prefix}_{count}_{h}h,
    ({part}.delay{h} / {part}.n{h})::float as {prefix}_{mean}_{h}h,
    ({part}.late{h} / {part}.n{h})::float as {prefix}_{share}_{h}h"""
WAITING = """
waiting as (
    select {keys}, g.known_at, count(*) as n from grid g join known d using ({keys})
    where greatest(d.sched_dep_at + interval {late} minutes, d.day_began_at) <= g.known_at
        and d.sched_dep_at + interval {given_up} minutes >= g.known_at
        and (d.dep_at is null or d.dep_at > g.known_at)
    group by all
)"""


def query(
    keys: Sequence[str],
    prefix: str,
    spec: Trailing = STATE,
) -> str:
    """The self-join that gives the same rows as `state` for the same arguments."""
    by, parts, columns = ", ".join(keys), [], []
    for part, hours, (at, delay, count, mean, share) in (
        ("dep", spec.departed, DEPARTED),
        ("arr", spec.landed, LANDED),
    ):
        if hours:
            counts = ", ".join(COUNTS.format(at=at, delay=delay, h=h, late=LATE) for h in hours)
            parts.append((part, WINDOWS.format(part=part, keys=by, counts=counts, at=at, longest=max(hours))))
            named = {"part": part, "prefix": prefix, "count": count, "mean": mean, "share": share}
            columns += [COLUMNS.format(h=h, **named) for h in hours]
    if spec.awaited:
        parts.append(("waiting", WAITING.format(keys=by, late=LATE, given_up=LONGEST_WAIT)))
        columns.append(f"coalesce(waiting.n, 0)::float as {prefix}_waiting")
    joined = " ".join(f"left join {part} using ({by}, known_at)" for part, _ in parts)
    with_parts = ",".join([GRID.format(keys=by, minutes=spec.minutes), *(sql for _, sql in parts)])
    return f"{with_parts} select {by}, known_at, {', '.join(columns)} from grid {joined} order by known_at, {by}"


def self_join(view: str, tables: dict[str, pa.Table], window: Window) -> pa.Table:
    (keys, prefix), asked = VIEWS[view].args[:2], VIEWS[view].keywords
    there = " and ".join(f"{key} is not null" for key in keys)
    with connect(tables, window.timezone, [DEPARTURES]) as connection:
        connection.execute(
            f"create temp table known as select {', '.join(keys)}, local_day, day_began_at, sched_dep_at, dep_at, "
            f"dep_delay, arr_at, arr_delay from departures where {there}"
        )
        return connection.sql(query(keys, prefix, **asked), params={"end": window.end}).to_arrow_table()


def seconds(work: Callable[[], pa.Table]) -> tuple[float, pa.Table]:
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def same(ours: pa.Table, theirs: pa.Table) -> bool:
    """Whether all values are equal, bit for bit."""
    cast = theirs.select(ours.column_names).cast(ours.schema)
    return bool(ours.combine_chunks().equals(cast.combine_chunks()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--repeat", type=int, default=5, help="of ours; the self-join runs once")
    asked = parser.parse_args()
    lines, found, end = [], [], USECASE.start + timedelta(asked.days)
    window = Window(USECASE.start, end, USECASE.timezone)
    params = load_params(ROOT / "params.yaml")
    tables = {table.name: read_window(params, USECASE, table, window) for table in USECASE.tables}
    declared = {table.name: table for table in USECASE.feature_tables}
    for view in VIEWS:
        build = partial(feature_rows, USECASE, declared[view], tables, window)
        runs = [seconds(build) for _ in range(asked.repeat)]
        ours, rows = statistics.median(took for took, _ in runs), runs[0][1]
        theirs, expected = seconds(partial(self_join, view, tables, window))
        assert same(rows, expected), f"{view}: the values differ"
        values = rows.num_rows * (len(rows.column_names) - 1 - len(declared[view].keys))
        told = {"view": view, "rows": rows.num_rows, "values": values, "ours": ours, "self_join": theirs}
        found.append(told)
        shown = f"{ours:.2f} | {theirs:.1f} | {theirs / ours:.0f}x |"
        lines.append(f"| `{view}` | {rows.num_rows:,} | {values:,} | {shown}")
        print(lines[-1], flush=True)
    totals = [sum(one[side] for one in found) for side in ("ours", "self_join")]
    ratio = totals[1] / totals[0]
    met = "met" if ratio >= BAR and all(one["self_join"] >= BAR * one["ours"] for one in found) else "**not met**"
    text = [
        "# Streaming windows",
        f"\n`python -m benchmarks.streaming_windows --days {asked.days}`.\nMachine: {machine('duckdb', 'pyarrow')}.\n",
        "Departures and arrivals of trailing hours on a grid, and what is waiting (docs/features.md).\n"
        "Every value is the same, bit for bit, on both sides.",
        f"Seconds of ours: median of {asked.repeat}, from raw tables to feature rows.\n",
        "| view | rows | values | running sums, s | range self-join, s | ratio |",
        "|---|---|---|---|---|---|",
        *lines,
        f"| all | | | {totals[0]:.2f} | {totals[1]:.1f} | {ratio:.0f}x |",
        f"\nBar: at least {BAR}x for each; {met}.",
    ]
    save(RESULTS / "streaming_windows.md", "\n".join(text), GROUND)


if __name__ == "__main__":
    main()
