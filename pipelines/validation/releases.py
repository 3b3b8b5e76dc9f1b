"""Rows that were released from quarantine: known again by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.store.layout import REFERENCE
from pipelines.validation.partitions import read_partition
from pipelines.validation.quarantine import Quarantine

if TYPE_CHECKING:
    from pipelines.store import Layout
    from pipelines.usecase import RawTable

Released = Mapping[str, Mapping[str, frozenset[str]]]  # reasons by partition and digest


def digests(rows: pa.Table) -> list[str]:
    """sha256 of each row's content: names and values, without the missing ones, in any order of the columns."""
    return [_digest(row) for row in rows.to_pylist()]


def _digest(row: Mapping[str, Any]) -> str:
    told = {name: value for name, value in row.items() if value is not None}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def let_go(quarantine: Quarantine, table: RawTable, released: Released, data: Layout) -> int:
    """Take released rows out of the quarantine, for the reasons of their release; gives how many are wholly out."""
    out = 0
    for day in quarantine.days:
        known = released.get(day.isoformat() if day else REFERENCE)
        if not known:
            continue
        numbers = quarantine.rows(day)
        _, rows = read_partition(table, day, data)
        for number, digest in zip(numbers.tolist(), digests(rows.take(numbers)), strict=True):
            for reason in known.get(digest, ()):
                quarantine.drop(day, reason, [number])
        out += len(numbers) - len(quarantine.rows(day))
    return out


def chosen(rows: pa.Table, key: Sequence[str], reason: str | None, row: str | None, codes: Sequence[str]) -> list[int]:
    """Numbers of the quarantined rows that a person means.

    Args:
        reason: those with this code.
        row: the one whose digest begins so (6 characters or more), or whose key is so, values joined by commas.
        codes: the reasons of each row, joined by commas.
    """
    found = range(rows.num_rows)
    if reason is not None:
        return [n for n in found if reason in codes[n].split(",")]
    if row is None:
        return list(found)
    keys = [",".join(str(value[name]) for name in key) for value in rows.select(list(key)).to_pylist()]
    marks = digests(rows)
    return [n for n in found if keys[n] == row or (len(row) >= 6 and marks[n].startswith(row))]
