"""All streaming windows of the year: differences of running sums against the range self-join, same values.

    python -m benchmarks.streaming_windows [--days 365] [--repeat 5]

Both sides read the same Arrow tables in memory and give the same rows: departures, mean delay and late share of the
last 1, 2 and 4 hours and the flights still waiting, every 15 minutes, by origin and by carrier. The self-join is a
DuckDB query: every grid row is joined to the departures of the 4 hours before it, and each window is a filtered
aggregate of that one join, which is kinder to it than a join a window. Its departures are made a table before. Writes
benchmarks/results/streaming_windows.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.judge import machine
from pipelines.usecases.flights import USECASE
from pipelines.usecases.flights.departures import connect
from pipelines.usecases.flights.streaming import GIVEN_UP, HOURS, LATE, MINUTES, state
from pipelines.windows import Window

RESULTS = Path(__file__).parent / "results"
BAR = 20

WINDOWS = ",\n".join(
    f"""    count(*) filter (d.dep_at > g.known_at - interval {h} hour) as n{h},
    sum(d.dep_delay) filter (d.dep_at > g.known_at - interval {h} hour) as delay{h},
    sum((d.dep_delay >= {LATE})::int) filter (d.dep_at > g.known_at - interval {h} hour) as late{h}"""
    for h in HOURS
)
COLUMNS = ",\n".join(
    f"""    coalesce(n{h}, 0)::float as {{key}}_departures_{h}h, (delay{h} / n{h})::float as {{key}}_dep_delay_{h}h,
    (late{h} / n{h})::float as {{key}}_late_share_{h}h"""
    for h in HOURS
)
SELF_JOIN = f"""
with flies as (select distinct {{key}}, local_day + n as day from left_or_due, (values (0), (1)) as after (n)),
grid as (
    select {{key}}, unnest(generate_series(
        day::timestamp::timestamptz, (day + 1)::timestamp::timestamptz - interval 1 second, interval {MINUTES} minutes
    )) as known_at
    from flies where day < $end::date
),
left_at as (
    select g.{{key}}, g.known_at,
{WINDOWS}
    from grid g join left_or_due d
        on d.{{key}} = g.{{key}} and d.dep_at <= g.known_at and d.dep_at > g.known_at - interval {max(HOURS)} hour
    group by all
),
waiting as (
    select g.{{key}}, g.known_at, count(*) as n from grid g join left_or_due d
        on d.{{key}} = g.{{key}}
        and greatest(d.sched_dep_at + interval {LATE} minutes, d.day_began_at) <= g.known_at
        and d.sched_dep_at + interval {GIVEN_UP} minutes >= g.known_at
        and (d.dep_at is null or d.dep_at > g.known_at)
    group by all
)
select grid.{{key}}, grid.known_at,
{COLUMNS},
    coalesce(waiting.n, 0)::float as {{key}}_waiting
from grid left join left_at using ({{key}}, known_at) left join waiting using ({{key}}, known_at)
order by known_at, {{key}}
"""


def self_join(key: str, tables: dict[str, pa.Table], window: Window) -> pa.Table:
    with connect(tables) as connection:
        connection.execute(
            "create temp table left_or_due as select origin, carrier, local_day, day_began_at, sched_dep_at, dep_at, "
            "dep_delay from departures"
        )
        return connection.sql(SELF_JOIN.format(key=key), params={"end": window.end}).to_arrow_table()


def seconds(work: Callable[[], pa.Table]) -> tuple[float, pa.Table]:
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def same(ours: pa.Table, theirs: pa.Table) -> bool:
    """Every value, bit for bit."""
    cast = theirs.select(ours.column_names).cast(ours.schema)
    return bool(ours.combine_chunks().equals(cast.combine_chunks()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--repeat", type=int, default=5, help="of ours; the self-join runs once")
    asked = parser.parse_args()
    window = Window(USECASE.start, USECASE.start + timedelta(asked.days), USECASE.timezone)
    tables = {t.name: USECASE.read(t, window, None) for t in USECASE.tables if t.name in ("flights", "airports")}
    lines, totals, found = [], [0.0, 0.0], []
    for key in ("origin", "carrier"):
        runs = [seconds(lambda key=key: state((key,), key, tables, window)) for _ in range(asked.repeat)]
        ours, rows = statistics.median(took for took, _ in runs), runs[0][1]
        theirs, expected = seconds(lambda key=key: self_join(key, tables, window))
        assert same(rows, expected), f"{key}: the values differ"
        totals = [totals[0] + ours, totals[1] + theirs]
        found.append({"key": key, "rows": rows.num_rows, "ours": ours, "self_join": theirs})
        values = rows.num_rows * (len(rows.column_names) - 2)
        lines.append(f"| {key} | {rows.num_rows:,} | {values:,} | {ours:.2f} | {theirs:.1f} | {theirs / ours:.0f}x |")
    ratio = totals[1] / totals[0]
    met = "met" if ratio >= BAR else "**not met**"
    text = [
        "# Streaming windows",
        f"\n`python -m benchmarks.streaming_windows --days {asked.days}`. Machine: {machine()}, "
        f"DuckDB {duckdb.__version__}.\n",
        f"{tables['flights'].num_rows:,} flights; windows of {', '.join(map(str, HOURS))} hours on a grid of {MINUTES} "
        "minutes, and what is waiting. Every value is the same, bit for bit, on both sides.",
        f"Seconds of ours: median of {asked.repeat}, from raw tables to feature rows.\n",
        "| by | rows | values | running sums, s | range self-join, s | ratio |",
        "|---|---|---|---|---|---|",
        *lines,
        f"| both | | | {totals[0]:.2f} | {totals[1]:.1f} | {ratio:.0f}x |",
        f"\nBar: at least {BAR}x; {met}.",
    ]
    RESULTS.joinpath("streaming_windows.md").write_text("\n".join(text) + "\n")
    told: dict[str, Any] = {"machine": machine(), "days": asked.days, "ratio": ratio, "by": found}
    RESULTS.joinpath("streaming_windows.json").write_text(json.dumps(told, indent=2) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
