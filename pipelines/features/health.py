"""Health of a feature view in a window of days: missing values, range, volume and freshness, against the days before.

Every figure is an aggregate that DuckDB computes over the partitions within `MEMORY`; larger groups spill to disk.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_args

import duckdb

from pipelines.artifacts.feature_report import FeatureProfile, Freshness, ViewHealth
from pipelines.errors import CorruptData
from pipelines.instants import MICROSECOND, SECOND, from_micros, micros, sql_micros
from pipelines.params.features import Bar, ComparedMetric
from pipelines.quoting import literal, parquet, quoted
from pipelines.verdict import Verdict

MEMORY, THREADS = "384MB", 4
NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")
COMPARED = get_args(ComparedMetric)  # metrics without meaning for a view without days
HOUR = 3600
FILE = "__file"  # the column with the name of a row's partition


@dataclass(frozen=True)
class View:
    """A view and the layout of its partitions.

    Attributes:
        stamp: the column with the knowledge time of a row.
        ttl: the age after which a row is stale; 0 for never.
        dated: whether there is one partition for each day, or a single one.
    """

    name: str
    keys: tuple[str, ...]
    features: tuple[str, ...]
    stamp: str
    ttl: timedelta
    dated: bool


@dataclass(frozen=True)
class Profile:
    """Volume and features of some partitions of a view; entities are counted for each day."""

    rows: int
    rows_a_day: float
    entities_a_day: float
    features: Mapping[str, FeatureProfile]


@contextmanager
def engine(files: Any = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection with bounded memory; `files` is the fsspec file system of a store that is not local."""
    with tempfile.TemporaryDirectory() as spill, duckdb.connect() as connection:
        for setting, value in (("memory_limit", MEMORY), ("threads", THREADS), ("temp_directory", spill)):
            connection.execute(f"set {setting} = {literal(str(value))}")
        connection.execute("set preserve_insertion_order = false; set timezone = 'UTC'")
        # Parquet's statistics omit NaN; DuckDB 2.0 concludes from them that `isnan` is false.
        connection.execute("set disabled_optimizers = 'statistics_propagation'")
        if files is not None:
            connection.register_filesystem(files)
        yield connection


def measure(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    window: Sequence[str],
    reference: Sequence[str],
    end: datetime,
    newest: Sequence[str] | None = None,
) -> ViewHealth:
    """The health of a view at the end of a window; figures that cannot be computed are None.

    Args:
        window: the window's partitions, at least one.
        reference: the partitions of the days before it; may be empty.
        end: the end of the window.
        newest: the partitions among which the newest rows are; those of the window and the reference by default.

    Raises:
        CorruptData: if the partitions lack a column.
    """
    numeric = _numeric(connection, view, window)
    earlier = _profile(connection, view, numeric, reference, {}) if reference else None
    before = earlier if earlier and earlier.rows else None
    ranges = before.features if before else {}
    now = _profile(connection, view, numeric, window, ranges)
    freshness = _freshness(connection, view, newest or [*window, *reference], end)
    metrics: dict[str, float | None] = {"stale_share": freshness.stale_share}
    worst: dict[str, str | None] = {}
    for metric in ("null_rate", "infinite_share", "null_rate_rise", "out_of_range_share"):
        rates = {name: _rate(metric, own, ranges.get(name)) for name, own in now.features.items()}
        shares = {name: rate for name, rate in rates.items() if rate is not None}
        metrics[metric] = max(shares.values(), default=None)
        worst[metric] = max(shares, key=shares.__getitem__, default=None)
    metrics["newest_age_hours"] = freshness.newest_age_hours
    metrics["rows_ratio"] = _ratio(now.rows_a_day, before.rows_a_day if before else None)
    metrics["entities_ratio"] = _ratio(now.entities_a_day, before.entities_a_day if before else None)
    if not view.dated:
        metrics = {name: value for name, value in metrics.items() if name not in COMPARED}
    return ViewHealth(
        **dict(freshness),
        rows=now.rows,
        rows_a_day=now.rows_a_day,
        entities_a_day=now.entities_a_day,
        reference_rows=before.rows if before else 0,
        features={
            name: own.model_copy(update={"reference": ranges.get(name)}) if view.dated else own
            for name, own in now.features.items()
        },
        metrics=metrics,
        worst={name: feature for name, feature in worst.items() if feature and metrics.get(name)},
    )


def judge(health: ViewHealth, bars: Sequence[Bar]) -> tuple[Verdict, list[str]]:
    """PASS if every bar that applies is met; HOLD otherwise, and if there is no row or no bar."""
    metrics = health.metrics
    if not health.rows:
        return Verdict.HOLD, ["it has no row in the window"]
    applying = [bar for bar in bars if bar.metric in metrics]
    if not applying:
        return Verdict.HOLD, ["no bar applies to it; set one in features.health"]
    alone = not health.reference_rows and any(metrics[bar.metric] is None for bar in applying)
    reasons = ["no row is known of the days before the window, so it cannot be held against them"] if alone else []
    for bar in applying:
        finding, feature = bar.check(metrics), health.worst.get(bar.metric)
        if finding.verdict is not Verdict.PASS and not (alone and finding.observed is None):
            reasons.append(f"{finding.reason}{f' ({feature})' if feature else ''}")
    return (Verdict.HOLD if reasons else Verdict.PASS), reasons


def _rate(metric: str, own: FeatureProfile, reference: FeatureProfile | None) -> float | None:
    """The value of a metric for one feature."""
    if metric == "null_rate_rise":
        before = reference.null_rate if reference else None
        return own.null_rate - before if own.null_rate is not None and before is not None else None
    value: float | None = getattr(own, metric)
    return value


def _ratio(now: float | None, before: float | None) -> float | None:
    return now / before if now is not None and before else None


def _numeric(connection: duckdb.DuckDBPyConnection, view: View, files: Sequence[str]) -> set[str]:
    """The numeric features; NaN counts as missing in these."""
    schema = _query(connection, f"describe select * from {_rows(files)}")
    types = {row[0]: str(row[1]) for row in schema}
    lacking = [name for name in (*view.keys, view.stamp, *view.features) if name not in types]
    if lacking:
        raise CorruptData(f"features/{view.name} lacks the columns {', '.join(lacking)}; build the features again")
    return {name for name in view.features if NUMERIC.fullmatch(types[name])}


def _profile(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    numeric: set[str],
    files: Sequence[str],
    ranges: Mapping[str, FeatureProfile],
) -> Profile:
    """Rows, entities a day, and by feature: null rate, infinite share, finite range, and share outside `ranges`."""
    aggregates = ["count(*)"]
    for name in view.features:
        column, bounds = quoted(name), ranges.get(name)
        if name not in numeric:
            aggregates += [f"count({column})", "0", "null", "null", "0"]
            continue
        value = f"{column}::double"
        there = f"{column} is not null and not isnan({value})"
        ranged = bounds is not None and bounds.min is not None
        outside = f"{value} not between {bounds.min!r} and {bounds.max!r}" if bounds and ranged else "true"
        aggregates += [
            f"count(*) filter (where {there})",
            f"count(*) filter (where isinf({value}))",
            f"min({value}) filter (where isfinite({value}))",
            f"max({value}) filter (where isfinite({value}))",
            f"count(*) filter (where {there} and {outside})",
        ]
    ((rows, *figures),) = _query(connection, f"select {', '.join(aggregates)} from {_rows(files)}")
    features = {}
    for number, name in enumerate(view.features):
        present, infinite, low, high, outside = figures[5 * number : 5 * number + 5]
        numbers: dict[str, float | None] = {}
        if name in numeric:
            numbers["infinite_share"] = infinite / rows if rows else None
        if name in numeric and name in ranges:
            numbers["out_of_range_share"] = outside / present if present else 0.0
        features[name] = FeatureProfile(null_rate=1 - present / rows if rows else None, min=low, max=high, **numbers)
    keys = ", ".join(map(quoted, view.keys))
    groups = f"select 1 from {_rows(files)} group by {FILE}, {keys}"
    ((entities,),) = _query(connection, f"select count(*) from ({groups})")
    return Profile(rows, rows / len(files), entities / len(files), features)


def _freshness(connection: duckdb.DuckDBPyConnection, view: View, files: Sequence[str], end: datetime) -> Freshness:
    """The age of the newest row at `end`, and the number of entities that have only stale rows by then."""
    keys = ", ".join(map(quoted, view.keys))
    at = micros(end)
    oldest = at - view.ttl // MICROSECOND
    latest = f"select max({sql_micros(quoted(view.stamp))}) as newest from {_rows(files)} group by {keys}"
    ((entities, stale, newest),) = _query(
        connection,
        f"select count(*), count(*) filter (where newest is null or newest < {oldest}), max(newest) from ({latest})",
    )
    stale = stale if view.ttl else 0
    return Freshness(
        entities=entities,
        stale_entities=stale,
        stale_share=stale / entities if entities else None,
        ttl_hours=view.ttl.total_seconds() / HOUR if view.ttl else None,
        newest=_isoformat(newest) if newest is not None else None,
        newest_age_hours=(at - newest) / SECOND / HOUR if newest is not None else None,
    )


def _isoformat(microseconds: int) -> str:
    """Microseconds since 1970 as ISO 8601; as a number for years that DuckDB can hold and Python cannot."""
    try:
        return from_micros(microseconds).isoformat()
    except OverflowError:
        return f"{microseconds} microseconds after 1970"


def _query(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    return list(connection.execute(sql).fetchall())


def _rows(files: Sequence[str]) -> str:
    return parquet(files, filename=literal(FILE))
