"""The columns of raw tables that a declared view reads, found in its SQL: a view is built from these only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pipelines.declare.events import Events, Prepared, Rows, name_of
from pipelines.declare.over import Active, Level, Part, Trailing
from pipelines.declare.views import Coded, Observed, Profile, Schedule
from pipelines.quoting import quoted
from pipelines.usecase import DAY, PERIOD, FeatureTable

# What a query may consist of, in DuckDB's own tree of it, so that it names every column that it reads. Anything else,
# such as STAR and PIVOT, may read others too.
EXPRESSIONS = "CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION OPERATOR BETWEEN SUBQUERY WINDOW"
TABLES = "SELECT_NODE SET_OPERATION_NODE BASE_TABLE SUBQUERY JOIN EXPRESSION_LIST EMPTY"
ORDERS = "ORDER_MODIFIER LIMIT_MODIFIER DISTINCT_MODIFIER ORDER_DEFAULT ASCENDING DESCENDING"
PLAIN = frozenset(f"{EXPRESSIONS} LAMBDA TYPE {TABLES} {ORDERS}".split())
TREE = "select json_serialize_sql(?, skip_default := true, skip_empty := true, skip_null := true)"


def columns_read(view: FeatureTable) -> frozenset[str] | None:
    """The lower-case names of all columns that a view reads from its sources; the set may be too large.

    None: it may read any column, since it is built by code, or by SQL that does not name all that it reads.
    """
    if isinstance(view, Coded):
        names = frozenset(map(str.lower, view.reads)) or None
    else:
        expressions = _expressions(view)
        names = _named(view.keys, expressions) if expressions else None
    return None if names is None else names.union(map(str.lower, view.keys), (DAY, PERIOD))


def part_read(columns: Sequence[str], read: frozenset[str] | None) -> list[str]:
    """The columns of a source that are read; all where that is unknown, or where none of them is named."""
    named = [name for name in columns if read is None or name.lower() in read]
    return named or [*columns]


def _expressions(view: FeatureTable) -> list[tuple[Rows, list[str | None]]]:
    """The expressions of a view by the rows that they read; empty for an unknown kind of view."""
    match view:
        case Trailing():
            found = [_of_part(part) for part in view.parts]
            return [*found, _of_events(view.rows.events)] if isinstance(view.rows, Active) else found
        case Observed():
            rows, of_events = _of_events(view.events)
            return [(rows, [*of_events, *view.columns.values()])]
        case Profile():
            return [(view.rows, [*view.columns.values()])]
        case Schedule():
            return [(view.rows, [view.where])]
    return []


def _of_part(part: Part) -> tuple[Rows, list[str | None]]:
    if isinstance(part, Level):
        return part.rows, [part.since, part.until]
    rows, of_events = _of_events(part.events)
    return rows, [*of_events, *(measure.of for measure in part.measures.values())]


def _of_events(events: Events) -> tuple[Rows, list[str | None]]:
    return events.rows, [events.at, events.where]


def _named(keys: Sequence[str], expressions: Sequence[tuple[Rows, list[str | None]]]) -> frozenset[str] | None:
    names: set[str] = set()
    for rows, of_rows in expressions:
        sql = ", ".join([*map(quoted, keys), *(f"({one})" for one in of_rows if one)])
        prepared = [rows.sql] if isinstance(rows, Prepared) else []
        for query in (*prepared, f"select {sql} from {quoted(name_of(rows))}"):
            of_query = names_in(query)
            if of_query is None:
                return None
            names |= of_query
    return frozenset(names)


@lru_cache(maxsize=1024)
def names_in(sql: str) -> frozenset[str] | None:
    """The names of columns in a query, in lower case; None where it may read others, which it does not name."""
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:
        tree = json.loads(connection.execute(TREE, [sql]).fetchall()[0][0])
    if tree["error"]:
        return None
    relations, names, last = set[str](), set[str](), set[str]()
    for node in _nodes(tree["statements"]):
        kind = node.get("class", node.get("type"))
        if isinstance(kind, str) and kind not in PLAIN:
            return None
        if node.get("ref_type") == "NATURAL" or "column_name_alias" in node:
            return None
        if "class" not in node:  # a table or an alias of one
            relations.update(str(node[name]).lower() for name in ("table_name", "alias", "key") if name in node)
        path = [name.lower() for name in node.get("column_names", [])]
        names.update(path, map(str.lower, node.get("using_columns", [])))
        last.update(path[-1:])
    return None if relations & last else frozenset(names)  # the name of a table stands for whole rows


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(part)
