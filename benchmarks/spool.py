"""What the prediction log could be in a database's place: a file that is appended to and shipped to the database."""

from __future__ import annotations

import os
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from pipelines.records import Batch, Prediction
from pipelines.records.direct_log import DirectLog

HEAD = struct.Struct("<II")  # of a batch: its length in bytes, their CRC-32
SHIPPED = 1000  # rows of one commit


class Spool:
    """One file of batches in their order. Without `fsync`, the newest may be missing if the machine dies."""

    def __init__(self, file: Path, fsync: bool) -> None:
        self._file, self._fsync = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND), fsync
        self._decoder = msgspec.msgpack.Decoder(Batch)

    def append(self, batch: Batch) -> None:
        content = msgspec.msgpack.encode(batch)
        os.write(self._file, HEAD.pack(len(content), zlib.crc32(content)) + content)
        if self._fsync:
            os.fdatasync(self._file)

    def batches(self) -> Iterator[Batch]:
        """The batches up to the first that is not whole, which no answer has gone out for."""
        at = 0
        while len(head := os.pread(self._file, HEAD.size, at)) == HEAD.size:
            length, check = HEAD.unpack(head)
            content = os.pread(self._file, length, at + HEAD.size)
            if len(content) < length or zlib.crc32(content) != check:
                return
            yield self._decoder.decode(content)
            at += HEAD.size + length

    def clear(self) -> None:
        os.ftruncate(self._file, 0)

    def close(self) -> None:
        os.close(self._file)


class Shipper(DirectLog):
    """Writes the batches of a spool, many in one commit; it refuses ids that it has written before."""

    def __init__(self, engine: sa.Engine, usecase: str) -> None:
        super().__init__(engine, usecase)
        self._waiting: defaultdict[str, list[Any]] = defaultdict(list)

    def ship(self, spool: Spool) -> None:
        """Write all that is in a spool; it can be cleared then."""
        for batch in spool.batches():
            self.append_batch(batch)
            if len(self._waiting["prediction_id"]) >= SHIPPED:
                self._commit()
        self._commit()

    def _append(self, columns: Mapping[str, Sequence[Any]]) -> list[Prediction] | None:
        for name, values in columns.items():
            self._waiting[name] += values
        return None

    def _commit(self) -> None:
        if self._waiting["prediction_id"]:
            super()._append(self._waiting)
        self._waiting.clear()
