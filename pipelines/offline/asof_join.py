"""The point-in-time join: for every entity row the latest row of each view that was known then, by `ASOF JOIN`."""

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
from pipelines.offline.reading import AT, CREATED, connect, explained, read_rows
from pipelines.offline.sources import Source, files_between, keys_of, layout_of, source_of

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from feast import FeatureView
    from feast.repo_config import RepoConfig

Integers = NDArray[np.int64]
AT_ONCE = 3  # views, each in a thread of its own: quicker than several threads on many small files of one
MOST_PLACES = 1 << 24  # of entities by moments: a table of these is filled forward, and above them joined


@dataclass(frozen=True)
class ViewJoin:
    """What is asked of one view.

    Attributes:
        keys: (declared name, column of the entity rows) of each join key; none for a view without entities.
        features: (declared name, name in the result).
        ttl: None for values that do not expire.
    """

    source: Source
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]
    ttl: timedelta | None

    @classmethod
    def of(cls, view: FeatureView, refs: Sequence[str], full_names: bool) -> ViewJoin:
        """The features among `refs` that belong to a view, under its alias and with its aliased keys if it has any."""
        projection = view.projection
        prefix = f"{projection.name_alias or view.name}__" if full_names else ""
        asked = [ref.split(":", 1)[1] for ref in refs if ref.split(":", 1)[0] == projection.name_to_use()]
        return cls(
            source=source_of(view),
            keys=tuple((key, projection.join_key_map.get(key, key)) for key in keys_of(view)),
            features=tuple((name, f"{prefix}{name}") for name in dict.fromkeys(asked)),
            ttl=view.ttl or None,
        )


def join(
    config: RepoConfig,
    views: Sequence[ViewJoin],
    entities: Callable[[], pa.Table],
    asked: pa.Array,
    only_written: bool = False,
) -> dict[str, pa.ChunkedArray]:
    """The features of every view by name, a value an entity row, in their order.

    A view's row counts for an entity row if its keys are equal (an empty key equals nothing), it was known at or before
    the instant that is asked about, and then not longer ago than the ttl. Of several the latest counts; ties are told
    apart as `Source.newest_first` says.

    Args:
        entities: gives the key columns; the first view that has been read asks for them, while others are read.
        asked: microseconds since 1970; null for an instant that is not known, at which nothing was.
        only_written: leave out rows that were written after the instant, in views that say when that was.
    """
    data, reach = layout_of(config), _reach(asked)
    instants, there = asked.fill_null(0).to_numpy(), asked.is_valid().to_numpy(False)

    def features_of(view: ViewJoin) -> dict[str, pa.ChunkedArray]:
        oldest = reach[0] - view.ttl if reach and view.ttl else None
        files = files_between(data, view.source, oldest, reach[1] if reach else None)
        with explained(view.source), connection.cursor() as cursor:
            rows = read_rows(cursor, view.source, files if reach else files[:1], _columns(view))
            return _join_view(cursor, view, rows.combine_chunks(), lines(), instants, there, only_written)

    made: list[pa.Table] = []
    one_by_one = Lock()

    def lines() -> pa.Table:
        with one_by_one:
            if not made:
                made.append(entities())
            return made[0]

    with connect(data, threads=1) as connection, ThreadPoolExecutor(AT_ONCE) as pool:
        largest_first = sorted(views, key=lambda view: len(view.keys), reverse=True)  # as far as can be told: no tail
        found = {id(view): pool.submit(features_of, view) for view in largest_first}
        return {name: column for view in views for name, column in found[id(view)].result().items()}


def _join_view(
    connection: DuckDBPyConnection,
    view: ViewJoin,
    rows: pa.Table,
    entities: pa.Table,
    instants: Integers,
    there: NDArray[np.bool_],
    only_written: bool,
) -> dict[str, pa.ChunkedArray]:
    import pyarrow as pa

    keys = [(column, rows[name], entities[column]) for name, (_, column) in _named_keys(view)]
    of_rows, of_lines = entity_codes(keys, len(rows), len(instants))
    position, line = np.flatnonzero(of_rows >= 0), np.flatnonzero((of_lines >= 0) & there)
    at = rows[AT].to_numpy()
    found: Integers = np.full(len(instants), -1)
    moments, moment = np.unique(at[position], return_inverse=True)
    entities_seen = int(max(of_rows.max(initial=-1), of_lines.max(initial=-1))) + 1
    if not view.source.created and entities_seen * (len(moments) + 1) <= MOST_PLACES:
        rows_of = np.full((entities_seen, len(moments) + 1), -1, dtype=np.int32)
        rows_of[of_rows[position], moment + 1] = position  # in the order of the store: of a tie the later row stays
        found[line] = _filled(rows_of, of_lines[line], np.searchsorted(moments, instants[line], side="right"))
    else:
        found[line] = _joined(connection, view, rows, of_rows, position, of_lines[line], instants[line], only_written)
    if view.ttl and len(rows):
        found[instants - at[found] > view.ttl // MICROSECOND] = -1
    taken = pa.array(found, mask=found < 0)
    return {name: rows[declared].take(taken) for declared, name in view.features}


def _filled(rows_of: NDArray[np.int32], entity: Integers, passed: NDArray[np.intp]) -> Integers:
    """The row that each entity row gets, -1 for none: an as-of join without a sort of what is asked.

    Args:
        rows_of: (entities, moments + 1), the row known of each entity at each moment, -1 for none; before any, nothing.
        passed: moments that have passed at the instant asked about.
    """
    latest = np.where(rows_of >= 0, np.arange(rows_of.shape[1], dtype=np.int32), 0)
    np.maximum.accumulate(latest, axis=1, out=latest)
    return rows_of[entity, latest[entity, passed]].astype(np.int64)


def _joined(
    connection: DuckDBPyConnection,
    view: ViewJoin,
    rows: pa.Table,
    of_rows: Integers,
    position: Integers,
    entity: Integers,
    instant: Integers,
    only_written: bool,
) -> Integers:
    """The same by DuckDB's ASOF JOIN, whatever the size, and where rows say when they were written."""
    import pyarrow as pa

    known = {
        "entity": of_rows[position].astype(np.int32),
        "instant": rows[AT].take(position),
        "created": rows[CREATED].take(position),
    }
    line = np.arange(len(entity), dtype=np.int32)
    connection.register("known", pa.table(known | {"position": position.astype(np.int32)}))
    connection.register("asked", pa.table({"entity": entity.astype(np.int32), "instant": instant, "line": line}))
    pairs = connection.sql(_matches(bool(view.source.created), only_written)).to_arrow_table()
    answers: Integers = np.full(len(entity), -1)
    answers[pairs["line"].to_numpy()] = pairs["position"].to_numpy()
    return answers


def _reach(asked: pa.Array) -> tuple[datetime, datetime] | None:
    """The earliest and the latest instant asked about."""
    import pyarrow.compute as pc

    if asked.null_count == len(asked):
        return None
    ends: Any = pc.min_max(asked).as_py()
    return from_micros(ends["min"]), from_micros(ends["max"])


def _columns(view: ViewJoin) -> dict[str, str]:
    """Declared names by names that no two columns share."""
    return {name: declared for name, (declared, _) in _named_keys(view)} | {name: name for name, _ in view.features}


def _named_keys(view: ViewJoin) -> list[tuple[str, tuple[str, str]]]:
    return [(f"__key{n}", key) for n, key in enumerate(view.keys)]


def _matches(created: bool, only_written: bool) -> str:
    """SQL of (line, position): the row that each entity row gets.

    `known` is in the order of the store, so that the greater position stands later. What may be seen of an entity
    changes only when one of its rows becomes visible, and then to the best of all visible: `since` is when, `best` is
    which.
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
