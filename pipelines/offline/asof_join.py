"""The point-in-time join: for every entity row the latest row of each view known at its instant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.instants import MICROSECOND, from_micros
from pipelines.offline.entity_codes import entity_codes
from pipelines.offline.reading import AT, CREATED, connect, explain_errors, read_rows
from pipelines.offline.sources import FeatureSource, files_between, keys_of, layout_of, source_of

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from feast import FeatureView
    from feast.repo_config import RepoConfig

Integers = NDArray[np.int64]
AT_ONCE = 3  # views, each in a thread of its own: faster than several threads on the many small files of one view
MOST_PLACES = 1 << 24  # entities times moments up to which a table is filled forward; larger joins run in SQL


@dataclass(frozen=True)
class ViewJoin:
    """The join of one view.

    Attributes:
        keys: (declared name, column of the entity rows) of each join key; empty for a view without entities.
        features: (declared name, name in the result).
        ttl: None for values that do not expire.
    """

    source: FeatureSource
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]
    ttl: timedelta | None

    @classmethod
    def of(cls, view: FeatureView, refs: Sequence[str], full_names: bool) -> ViewJoin:
        """The join of a view's features among `refs`, with the aliases of its projection."""
        projection = view.projection
        prefix = f"{projection.name_alias or view.name}__" if full_names else ""
        names = [ref.split(":", 1)[1] for ref in refs if ref.split(":", 1)[0] == projection.name_to_use()]
        return cls(
            source=source_of(view),
            keys=tuple((key, projection.join_key_map.get(key, key)) for key in keys_of(view)),
            features=tuple((name, f"{prefix}{name}") for name in dict.fromkeys(names)),
            ttl=view.ttl or None,
        )


def join(
    config: RepoConfig,
    views: Sequence[ViewJoin],
    entities: Callable[[], pa.Table],
    as_of: pa.Array,
    only_written: bool = False,
) -> dict[str, pa.ChunkedArray]:
    """The features of every view by name: one value for each entity row, in their order.

    A view's row matches an entity row if its keys are equal (an empty key equals nothing), and it was known at or
    before the entity row's instant, but not longer ago than the ttl. The latest match is taken; ties are broken by
    `FeatureSource.newest_first`.

    Args:
        entities: returns the key columns; called once, while views are being read.
        as_of: instants of the entity rows in microseconds since 1970; null where unknown, which matches nothing.
        only_written: ignore rows that were written after the instant, in views with a column for that.
    """
    data, reach = layout_of(config), _reach(as_of)
    instants, there = as_of.fill_null(0).to_numpy(), as_of.is_valid().to_numpy(False)

    def features_of(view: ViewJoin) -> dict[str, pa.ChunkedArray]:
        oldest = reach[0] - view.ttl if reach and view.ttl else None
        files = files_between(data, view.source, oldest, reach[1] if reach else None)
        with explain_errors(view.source), connection.cursor() as cursor:
            rows = read_rows(cursor, view.source, files if reach else files[:1], _columns(view))
            return _join_view(cursor, view, rows.combine_chunks(), EntityRows(lines(), instants, there), only_written)

    cache: list[pa.Table] = []
    one_by_one = Lock()

    def lines() -> pa.Table:
        with one_by_one:
            if not cache:
                cache.append(entities())
            return cache[0]

    with connect(data, threads=1) as connection, ThreadPoolExecutor(AT_ONCE) as pool:
        largest_first = sorted(views, key=lambda view: len(view.keys), reverse=True)  # to avoid a long last thread
        futures = {id(view): pool.submit(features_of, view) for view in largest_first}
        return {name: column for view in views for name, column in futures[id(view)].result().items()}


@dataclass(frozen=True)
class EntityRows:
    """The rows that features are looked up for.

    Attributes:
        keys: their key columns.
        instants: microseconds since 1970; 0 where `there` says that it is unknown.
    """

    keys: pa.Table
    instants: Integers
    there: NDArray[np.bool_]


def _join_view(
    connection: DuckDBPyConnection,
    view: ViewJoin,
    rows: pa.Table,
    entities: EntityRows,
    only_written: bool,
) -> dict[str, pa.ChunkedArray]:
    import pyarrow as pa

    keys = [(column, rows[name], entities.keys[column]) for name, (_, column) in _aliased_keys(view)]
    instants = entities.instants
    of_rows, of_lines = entity_codes(keys, len(rows), len(instants))
    position, line = np.flatnonzero(of_rows >= 0), np.flatnonzero((of_lines >= 0) & entities.there)
    at = rows[AT].to_numpy()
    answers: Integers = np.full(len(instants), -1)
    moments, moment = np.unique(at[position], return_inverse=True)
    entity_count = int(max(of_rows.max(initial=-1), of_lines.max(initial=-1))) + 1
    if not view.source.created and entity_count * (len(moments) + 1) <= MOST_PLACES:
        rows_of = np.full((entity_count, len(moments) + 1), -1, dtype=np.int32)
        rows_of[of_rows[position], moment + 1] = position  # in the order of the store, so that the later row wins a tie
        answers[line] = _fill_forward(rows_of, of_lines[line], np.searchsorted(moments, instants[line], side="right"))
    else:
        known = {
            "entity": of_rows[position].astype(np.int32),
            "instant": rows[AT].take(position),
            "created": rows[CREATED].take(position),
            "position": position.astype(np.int32),
        }
        number = np.arange(len(line), dtype=np.int32)
        asked = {"entity": of_lines[line].astype(np.int32), "instant": instants[line], "line": number}
        sql = _matches(bool(view.source.created), only_written)
        answers[line] = _join_in_sql(connection, pa.table(known), pa.table(asked), sql)
    if view.ttl and len(rows):
        answers[instants - at[answers] > view.ttl // MICROSECOND] = -1
    indices = pa.array(answers, mask=answers < 0)
    return {name: rows[declared].take(indices) for declared, name in view.features}


def _fill_forward(rows_of: NDArray[np.int32], entity: Integers, moments: NDArray[np.intp]) -> Integers:
    """The matching row of each entity row, -1 for none: an as-of join that does not sort the entity rows.

    Args:
        rows_of: (entities, moments + 1), the row that each entity gets at each moment, -1 for none; column 0 is empty.
        moments: the number of moments up to the instant of each entity row.
    """
    latest = np.where(rows_of >= 0, np.arange(rows_of.shape[1], dtype=np.int32), 0)
    np.maximum.accumulate(latest, axis=1, out=latest)
    return rows_of[entity, latest[entity, moments]].astype(np.int64)


def _join_in_sql(connection: DuckDBPyConnection, known: pa.Table, asked: pa.Table, sql: str) -> Integers:
    """The matching row of each entity row by DuckDB's ASOF JOIN, for any size, and for rows with a time of writing.

    Args:
        known: entity, instant, created and position of each row of the view.
        asked: entity, instant and line of each entity row.
    """
    connection.register("known", known)
    connection.register("asked", asked)
    pairs = connection.sql(sql).to_arrow_table()
    answers: Integers = np.full(len(asked), -1)
    answers[pairs["line"].to_numpy()] = pairs["position"].to_numpy()
    return answers


def _reach(as_of: pa.Array) -> tuple[datetime, datetime] | None:
    """The earliest and the latest instant; None where all are null."""
    import pyarrow.compute as pc

    if as_of.null_count == len(as_of):
        return None
    ends: Any = pc.min_max(as_of).as_py()
    return from_micros(ends["min"]), from_micros(ends["max"])


def _columns(view: ViewJoin) -> dict[str, str]:
    """Declared names by unique aliases."""
    return {name: declared for name, (declared, _) in _aliased_keys(view)} | {name: name for name, _ in view.features}


def _aliased_keys(view: ViewJoin) -> list[tuple[str, tuple[str, str]]]:
    return [(f"__key{n}", key) for n, key in enumerate(view.keys)]


def _matches(created: bool, only_written: bool) -> str:
    """SQL of (line, position): the matching row of each entity row.

    `known` is in the order of the store, so a greater position is a later row. The visible row of an entity changes
    only when another of its rows becomes visible, and then to the best of all visible rows: `since` is the instant,
    `best` the row.
    """
    if created and only_written:
        visible = """select distinct entity, since, arg_max(position, rank) over so_far as best
            from (select *, greatest(instant, created) as since,
                row_number() over (order by instant, created, position) as rank from known where created is not null)
            window so_far as (partition by entity order by since)"""
    else:
        best = f"arg_max(position, (coalesce(created, {-(2**62)}), position))" if created else "max(position)"
        visible = f"select entity, instant as since, {best} as best from known group by entity, instant"
    return f"""select asked.line, visible.best as position from asked asof join ({visible}) as visible
        on visible.entity = asked.entity and visible.since <= asked.instant"""
