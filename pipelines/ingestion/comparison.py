"""The differences between two data versions: partitions, rows and columns of each table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from pipelines.ingestion.versions import footer
from pipelines.json_text import JsonObject

Partitions = Mapping[str, str]  # day (or `all`) -> hash
Footers = Mapping[str, tuple[int, pa.Schema]]  # by hash


def compare(before: Mapping[str, str], after: Mapping[str, str], where: Mapping[str, Path]) -> JsonObject:
    """By table: partitions added, removed and changed; rows of each side; columns added, removed and retyped.

    Only footers are read, once per distinct file. A column has every type that it has in some partition of that side.

    Args:
        before: relative path -> hash of every file of a version; `after` likewise.
        where: where the objects of these hashes lie.
    """
    names = {value: path for path, value in [*before.items(), *after.items()]}
    footers = {value: footer(where[value], name) for value, name in names.items()}
    old, new = _tables(before), _tables(after)
    return {table: _compare(old[table], new[table], footers) for table in sorted({*old, *new})}


def _compare(before: Partitions, after: Partitions, footers: Footers) -> JsonObject:
    old, new = _columns(before.values(), footers), _columns(after.values(), footers)
    both = sorted({*old} & {*new})
    return {
        "added": sorted({*after} - {*before}),
        "removed": sorted({*before} - {*after}),
        "changed": sorted(day for day in {*before} & {*after} if before[day] != after[day]),
        "rows": [sum(footers[value][0] for value in side.values()) for side in (before, after)],
        "columns": {
            "added": {name: new[name] for name in sorted({*new} - {*old})},
            "removed": {name: old[name] for name in sorted({*old} - {*new})},
            "retyped": {name: [old[name], new[name]] for name in both if old[name] != new[name]},
        },
    }


def _tables(tree: Mapping[str, str]) -> defaultdict[str, dict[str, str]]:
    tables: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for path, value in tree.items():
        table, _, name = path.partition("/")
        tables[table][name.removesuffix(".parquet")] = value
    return tables


def _columns(values: Iterable[str], footers: Footers) -> dict[str, str]:
    types: defaultdict[str, set[str]] = defaultdict(set)
    for value in values:
        for field in footers[value][1]:
            types[field.name].add(str(field.type))
    return {name: " or ".join(sorted(kinds)) for name, kinds in types.items()}
