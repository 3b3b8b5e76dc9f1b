"""Rows that were released from quarantine, identified by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.store.layout import partition_name
from pipelines.validation.chunks import read_partition
from pipelines.validation.quarantine import Quarantine

if TYPE_CHECKING:
    from pipelines.store import Layout
    from pipelines.usecase import RawTable

Released = Mapping[str, Mapping[str, frozenset[str]]]  # reasons by partition and digest


def digests(rows: pa.Table) -> list[str]:
    """sha256 of each row's content: names and values without missing ones, whatever the order of the columns."""
    return [_digest(row) for row in rows.to_pylist()]


def _digest(row: Mapping[str, Any]) -> str:
    values = {name: value for name, value in row.items() if value is not None}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def let_go(quarantine: Quarantine, table: RawTable, released: Released, data: Layout) -> int:
    """Remove released rows from the quarantine, for the reasons of their release; returns how many left it entirely."""
    out = 0
    for period in quarantine.periods:
        reasons_by_digest = released.get(partition_name(period))
        if not reasons_by_digest:
            continue
        numbers = quarantine.rows(period)
        _, rows = read_partition(table, period, data)
        for number, digest in zip(numbers.tolist(), digests(rows.take(numbers)), strict=True):
            for reason in reasons_by_digest.get(digest, ()):
                quarantine.drop(period, reason, [number])
        out += len(numbers) - len(quarantine.rows(period))
    return out


def pick_rows(
    rows: pa.Table, key: Sequence[str], reason: str | None, row: str | None, codes: Sequence[str]
) -> list[int]:
    """Numbers of the quarantined rows that a person selects; all rows without `reason` and `row`.

    Args:
        reason: selects rows with this code.
        row: selects the row with this digest prefix (6 characters or more) or this key, values joined by commas.
        codes: the reasons of each row, joined by commas.
    """
    numbers = range(rows.num_rows)
    if reason is not None:
        return [n for n in numbers if reason in codes[n].split(",")]
    if row is None:
        return list(numbers)
    keys = [",".join(str(value[name]) for name in key) for value in rows.select(list(key)).to_pylist()]
    marks = digests(rows)
    return [n for n in numbers if keys[n] == row or (len(row) >= 6 and marks[n].startswith(row))]
