"""Staging between a source and its partitions: files on local disk, so that no table has to fit in memory."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.periods import Period
from pipelines.quoting import parquet, quoted
from pipelines.store import Store
from pipelines.usecase import RawTable

Parameters = dict[str, Any]  # of a query, by name
BOOKMARK = b"bookmark"
BATCH = 50_000  # rows
MEMORY = "1GB"  # of a sort; what does not fit goes to disk


class Staging:
    """The pieces of one read of a table, numbered, each with the source's bookmark after it.

    An interrupted read resumes after its last whole piece, where the source can; else it starts over. When a read has
    been written completely, what earlier reads of the table left is removed, since they may never be resumed.

    Args:
        home: the folder that holds the pieces of all reads.
        identity: what is read, and from where; the same identity has the same folder.
    """

    def __init__(self, home: Path, table: str, identity: str) -> None:
        self.home, self.table = home, table
        self.folder = home / f"{table}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.left_out = 0  # rows of this run's reads that do not count; a read that begins anew counts them anew
        if self.bookmark is None:
            self.clear()

    @property
    def bookmark(self) -> str | None:
        return _bookmark(self.files[-1]) if self.files else None

    @property
    def files(self) -> list[str]:
        return sorted(str(path) for path in self.folder.glob("*.parquet"))

    @property
    def rows(self) -> int:
        return sum(pq.read_metadata(file).num_rows for file in self.files)

    @property
    def columns(self) -> set[str]:
        return {name for file in self.files for name in pq.read_schema(file).names}

    def add(self, rows: pa.Table, bookmark: str | None) -> None:
        """Write a piece, atomically."""
        metadata = {} if bookmark is None else {BOOKMARK: bookmark.encode()}
        beside = self.folder / ".piece"
        pq.write_table(rows.replace_schema_metadata(metadata), beside)
        os.replace(beside, self.folder / f"{len(self.files):06}.parquet")

    def clear(self) -> None:
        self.left_out = 0
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            return
        for folder in self.home.iterdir():
            if re.fullmatch(rf"{re.escape(self.table)}-[0-9a-f]{{12}}", folder.name):
                shutil.rmtree(folder, ignore_errors=True)


def _bookmark(file: str) -> str | None:
    bookmark = (pq.read_schema(file).metadata or {}).get(BOOKMARK)
    return None if bookmark is None else bookmark.decode()


class StagedRows:
    """Delivered rows and the rows of the partitions that they may change, in SQL.

    Of rows with one key the newest by `table.known` counts; of several equally new rows all count, and so do rows with
    a null in their key, so that validation sees them. The order of delivery decides nothing.

    Args:
        column: the one with the period of a row.
        earlier_undated: undated rows of earlier runs, once each.
    """

    def __init__(
        self,
        table: RawTable,
        column: str,
        delivered: list[str],
        scratch: Path,
        store: Store,
        earlier_undated: pa.Table,
    ) -> None:
        self.table, self.column, self.delivered, self.earlier_undated = table, column, delivered, earlier_undated
        self.connection = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": str(scratch / "spill")})
        self.connection.execute("set timezone = 'UTC'")
        self.connection.execute("set preserve_insertion_order = false")
        self.connection.register("apart", earlier_undated)
        if not store.local:
            self.connection.register_filesystem(store.fs)

    def __enter__(self) -> StagedRows:
        return self

    def __exit__(self, *_: Any) -> None:
        self.connection.close()

    def periods(self) -> list[Period]:
        """Periods that have delivered rows."""
        return self._periods(f"{parquet(self.delivered)} where {self.column} is not null")

    def periods_with_same_keys(self, partitions: list[str]) -> list[Period]:
        """Periods whose partitions hold a record with the key of a delivered one, which may lie in another now."""
        if not partitions or self.column in self.table.key:
            return []
        keys = ", ".join(map(quoted, self.table.key))
        delivered = f"select {keys} from {parquet(self.delivered)}"
        return self._periods(f"{parquet(partitions)} semi join ({delivered}) using ({keys})")

    def _periods(self, rows: str) -> list[Period]:
        result = self.connection.sql(f"select distinct {self.column} from {rows} order by 1").to_arrow_table()
        periods: list[Period] = result[self.column].to_pylist()
        return periods

    def distinct_undated(self) -> int:
        """The undated rows that were delivered, each once, superseded ones included."""
        undated = f"select distinct * from {parquet(self.delivered)} where {self.column} is null"
        return int(self.connection.sql(f"select count(*) from ({undated})").fetchall()[0][0])

    def undated(self, partitions: Sequence[str] | None) -> pa.Table:
        """Undated rows that count, including those of earlier runs.

        A row of an earlier run no longer counts once its key is delivered with a day in a record that is not older.
        Where rows are merged into `partitions` (else None), only the newest record of a key counts, dated or not.
        """
        counting = self._counting(partitions or (), with_undated=partitions is not None)
        sql = f"select * from ({counting}) where {self.column} is null"
        if partitions is None:
            sql += f" union all by name {self._standing()}"
        return self.connection.sql(sql).to_arrow_table()

    def _standing(self) -> str:
        same = [f"dated.{self.column} is not null"]
        same += [f"dated.{quoted(key)} = apart.{quoted(key)}" for key in self.table.key]
        if self.table.known is not None:
            known_at = quoted(self.table.known)
            same.append(f"(dated.{known_at} >= apart.{known_at}) is not false")
        dated = f"select 1 from {parquet(self.delivered)} dated where {' and '.join(same)}"
        return f"select * from apart where not exists ({dated})"

    def count(self, partitions: Sequence[str], where: str, parameters: Parameters) -> int:
        sql = f"select count(*) from {parquet([*self.delivered, *partitions])} where {where}"
        return int(self.connection.sql(sql, params=parameters).fetchall()[0][0])

    def by_period(
        self, partitions: Sequence[str], where: str, parameters: Parameters, with_undated: bool = False
    ) -> Iterator[pa.Table]:
        """Batches of the rows that count and meet `where`, periods in order; a reference table has no order.

        Args:
            with_undated: whether an undated row of an earlier run counts if it is the newest of its key.
        """
        sql = f"select * from ({self._counting(partitions, with_undated)}) where {where}"
        if self.table.daily:
            sql += f" order by {self.column}"
        for batch in self.connection.sql(sql, params=parameters).to_arrow_reader(BATCH):
            yield pa.Table.from_batches([batch])

    def newest_known(self) -> datetime | None:
        """The latest knowledge time of a delivered record."""
        if self.table.known is None:
            return None
        sql = f"select max({quoted(self.table.known)})::timestamptz as newest from {parquet(self.delivered)}"
        newest: datetime | None = self.connection.sql(sql).to_arrow_table()["newest"][0].as_py()
        return newest

    def _counting(self, partitions: Sequence[str], with_undated: bool = False) -> str:
        """All rows that count, of any period: a newer row supersedes one of the same key in another."""
        sql = f"select * from {parquet([*self.delivered, *partitions])}"
        if with_undated:
            sql = f"select * from ({sql} union all by name {self._standing()})"
        if self.table.known is None:
            return sql
        keys = ", ".join(map(quoted, self.table.key))
        without = " or ".join(f"{quoted(key)} is null" for key in self.table.key)
        newest = f"rank() over (partition by {keys} order by {quoted(self.table.known)} desc nulls last) = 1"
        return f"{sql} qualify {without} or {newest}"
