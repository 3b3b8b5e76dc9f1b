"""Health of a feature view in a window of days: missing values, range, volume and freshness, against the days before.

Every figure is an aggregate that DuckDB computes over the partitions within `MEMORY`; groups that do not fit it go to
disk.
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

from pipelines.errors import CorruptData
from pipelines.instants import MICROSECOND, SECOND, from_micros, micros, sql_micros
from pipelines.params.features import Bar, Compared
from pipelines.quoting import literal, parquet, quoted
from pipelines.verdict import Verdict

MEMORY, THREADS = "384MB", 4
NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")
COMPARED = get_args(Compared)  # mean nothing for a view without days
HOUR = 3600
FILE = "__file"  # the column that tells partitions apart


@dataclass(frozen=True)
class View:
    """A view as its partitions hold it.

    Attributes:
        stamp: column of the instant from which a row was known.
        ttl: after this long a row is stale; 0 for never.
        dated: one partition a day, or a single one.
    """

    name: str
    keys: tuple[str, ...]
    features: tuple[str, ...]
    stamp: str
    ttl: timedelta
    dated: bool


@contextmanager
def engine(files: Any = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that keeps within bounds; `files` is the fsspec file system of a store that is not local."""
    with tempfile.TemporaryDirectory() as spill, duckdb.connect() as connection:
        for setting, value in (("memory_limit", MEMORY), ("threads", THREADS), ("temp_directory", spill)):
            connection.execute(f"set {setting} = {literal(str(value))}")
        connection.execute("set preserve_insertion_order = false; set timezone = 'UTC'")
        # Parquet's statistics leave NaN out; DuckDB 2.0 concludes from them that `isnan` is false.
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
) -> dict[str, Any]:
    """Everything that is known of a view at the end of a window, JSON-able; what cannot be said is None.

    Args:
        window: its partitions, at least one. reference: those of the days before it, perhaps none.

    Returns:
        rows, entities, features (by name, with those of the reference), freshness and `metrics`, which bars are set
        on: of the rates and shares of features that of the worst one, named in `worst`.

    Raises:
        CorruptData: if the partitions lack a column.
    """
    numeric = _numeric(connection, view, window)
    before = _profile(connection, view, numeric, reference, {}) if reference else None
    before = before if before and before["rows"] else None
    ranges = before["features"] if before else {}
    found = _profile(connection, view, numeric, window, ranges)
    fresh = _freshness(connection, view, [*window, *reference], end)
    features = {
        name: {**own, "reference": ranges.get(name)} if view.dated else own for name, own in found["features"].items()
    }
    metrics: dict[str, float | None] = {"stale_share": fresh["stale_share"]}
    worst = {}
    for metric in ("null_rate", "infinite_share", "null_rate_rise", "out_of_range_share"):
        rates = {name: _rate(metric, own, ranges.get(name)) for name, own in found["features"].items()}
        known = {name: rate for name, rate in rates.items() if rate is not None}
        metrics[metric] = max(known.values(), default=None)
        worst[metric] = max(known, key=known.__getitem__, default=None)
    metrics["newest_age_hours"] = fresh["newest_age_hours"]
    for count in ("rows", "entities"):
        metrics[f"{count}_ratio"] = _ratio(found[f"{count}_a_day"], before[f"{count}_a_day"] if before else None)
    if not view.dated:
        metrics = {name: value for name, value in metrics.items() if name not in COMPARED}
    return {
        **{key: found[key] for key in ("rows", "rows_a_day", "entities_a_day")},
        "reference_rows": before["rows"] if before else 0,
        **fresh,
        "features": features,
        "metrics": metrics,
        "worst": {name: feature for name, feature in worst.items() if feature and metrics.get(name)},
    }


def judge(found: Mapping[str, Any], bars: Sequence[Bar]) -> tuple[Verdict, list[str]]:
    """PASS where every bar that applies is met, else HOLD; also where there is no row or no bar."""
    metrics = found["metrics"]
    if not found["rows"]:
        return Verdict.HOLD, ["it has no row in the window"]
    applying = [bar for bar in bars if bar.metric in metrics]
    if not applying:
        return Verdict.HOLD, ["no bar applies to it; set one in features.health"]
    alone = not found["reference_rows"] and any(metrics[bar.metric] is None for bar in applying)
    reasons = ["no row is known of the days before the window, so it cannot be held against them"] if alone else []
    for bar in applying:
        finding, feature = bar.check(metrics), found["worst"].get(bar.metric)
        if finding.verdict is not Verdict.PASS and not (alone and finding.observed is None):
            reasons.append(f"{finding.reason}{f' ({feature})' if feature else ''}")
    return (Verdict.HOLD if reasons else Verdict.PASS), reasons


def _rate(metric: str, own: Mapping[str, Any], reference: Mapping[str, Any] | None) -> float | None:
    """A feature's share of its values by which it is judged."""
    if metric == "null_rate_rise":
        known = own["null_rate"] is not None and reference and reference["null_rate"] is not None
        return own["null_rate"] - reference["null_rate"] if known and reference else None
    value: float | None = own.get(metric)
    return value


def _ratio(now: float | None, before: float | None) -> float | None:
    return now / before if now is not None and before else None


def _numeric(connection: duckdb.DuckDBPyConnection, view: View, files: Sequence[str]) -> set[str]:
    """The features that are numbers; NaN counts as missing in these."""
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
    ranges: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Rows, entities of a day, and by feature: null rate, infinite share, finite range, share outside another range."""
    asked = ["count(*)"]
    for name in view.features:
        column, low, high = quoted(name), *((ranges.get(name) or {}).get(end) for end in ("min", "max"))
        if name not in numeric:
            asked += [f"count({column})", "0", "null", "null", "0"]
            continue
        value = f"{column}::double"
        there = f"{column} is not null and not isnan({value})"
        outside = f"{value} not between {low!r} and {high!r}" if low is not None else "true"
        asked += [
            f"count(*) filter (where {there})",
            f"count(*) filter (where isinf({value}))",
            f"min({value}) filter (where isfinite({value}))",
            f"max({value}) filter (where isfinite({value}))",
            f"count(*) filter (where {there} and {outside})",
        ]
    ((rows, *figures),) = _query(connection, f"select {', '.join(asked)} from {_rows(files)}")
    features = {}
    for number, name in enumerate(view.features):
        present, infinite, low, high, outside = figures[5 * number : 5 * number + 5]
        features[name] = {"null_rate": 1 - present / rows if rows else None, "min": low, "max": high}
        if name in numeric:
            features[name]["infinite_share"] = infinite / rows if rows else None
        if name in numeric and name in ranges:
            features[name]["out_of_range_share"] = outside / present if present else 0.0
    keys = ", ".join(map(quoted, view.keys))
    seen = f"select 1 from {_rows(files)} group by {FILE}, {keys}"
    ((entities,),) = _query(connection, f"select count(*) from ({seen})")
    return {
        "rows": rows,
        "rows_a_day": rows / len(files),
        "entities_a_day": entities / len(files),
        "features": features,
    }


def _freshness(
    connection: duckdb.DuckDBPyConnection, view: View, files: Sequence[str], end: datetime
) -> dict[str, Any]:
    """How old the newest row is at `end`, and how many of the entities seen have none that is not stale by then."""
    keys = ", ".join(map(quoted, view.keys))
    at = micros(end)
    oldest = at - view.ttl // MICROSECOND
    latest = f"select max({sql_micros(quoted(view.stamp))}) as newest from {_rows(files)} group by {keys}"
    ((entities, stale, newest),) = _query(
        connection,
        f"select count(*), count(*) filter (where newest is null or newest < {oldest}), max(newest) from ({latest})",
    )
    stale = stale if view.ttl else 0
    return {
        "entities": entities,
        "stale_entities": stale,
        "stale_share": stale / entities if entities else None,
        "ttl_hours": view.ttl.total_seconds() / HOUR if view.ttl else None,
        "newest": _written(newest) if newest is not None else None,
        "newest_age_hours": (at - newest) / SECOND / HOUR if newest is not None else None,
    }


def _written(microseconds: int) -> str:
    """An instant since 1970 as ISO 8601; DuckDB knows later years than Python."""
    try:
        return from_micros(microseconds).isoformat()
    except OverflowError:
        return f"{microseconds} microseconds after 1970"


def _query(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    return list(connection.execute(sql).fetchall())


def _rows(files: Sequence[str]) -> str:
    return parquet(files, filename=literal(FILE))
