"""Files behind one interface: atomic, byte-deterministic writes over file:// and any fsspec URI such as s3://."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pipelines.errors import CorruptData, InvalidInput, MissingData

SMALL = 4_000_000  # bytes of a Parquet file up to which handing it to other threads costs more than reading it


class Store:
    """A tree of files under `root`.

    Writes are atomic: a file is written beside the tree (in `.tmp/`) and renamed into place or, on an object store, put
    in one request. The same content always gives the same bytes.
    """

    def __init__(self, root: str) -> None:
        try:  # a path is literal: fsspec would read `::` as a chain of file systems
            self.fs, path = fsspec.core.url_to_fs(root) if "://" in root else (LocalFileSystem(), root)
        except (ImportError, ValueError) as error:
            raise InvalidInput(f"FLIGHTDECK_STORE_URI={root}: {error}; install what it needs, or correct it") from None
        self.local = isinstance(self.fs, LocalFileSystem)
        # A relative root gives relative URIs, so that what the desk writes has the same bytes in every clone.
        self.root = root if self.local and "://" not in root else path

    def uri(self, *parts: str) -> str:
        """The full URI of a place in the tree."""
        path = "/".join((self.root.rstrip("/"), *parts))
        return path if self.local else str(self.fs.unstrip_protocol(path))

    def exists(self, uri: str) -> bool:
        return bool(self.fs.exists(uri))

    def names(self, folder: str) -> list[str]:
        """File names directly in a folder, sorted; none where there is no folder."""
        if not self.fs.exists(folder):
            return []
        if self.local:
            return sorted(os.listdir(self.fs._strip_protocol(folder)))
        return sorted(path.rsplit("/", 1)[-1] for path in self.fs.ls(folder, detail=False, refresh=True))

    def delete(self, uri: str) -> None:
        if self.fs.exists(uri):
            self.fs.rm(uri, recursive=True)

    def write_bytes(self, uri: str, content: bytes) -> str:
        """Write `content` atomically and return its sha256."""
        if self.local:
            path = self.fs._strip_protocol(uri)
            beside = f"{self.root}/.tmp/{hashlib.sha256(path.encode()).hexdigest()[:16]}.{os.getpid()}"
            os.makedirs(os.path.dirname(beside), exist_ok=True)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(beside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        else:
            self.fs.pipe_file(uri, content)
        return self.sha256(content)

    def read_bytes(self, uri: str) -> bytes:
        try:
            return bytes(self.fs.cat_file(uri))
        except FileNotFoundError:
            raise MissingData(f"{uri} does not exist; run the step that writes it") from None

    def write_json(self, uri: str, value: Any) -> str:
        return self.write_bytes(uri, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())

    def read_json(self, uri: str) -> Any:
        content = self.read_bytes(uri)
        try:
            return json.loads(content)
        except ValueError as error:
            raise CorruptData(f"{uri} is not JSON ({error}); write it anew") from None

    @staticmethod
    def sha256(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    def digest(self, uri: str) -> str | None:
        """sha256 of a file; None where there is none."""
        try:
            return self.sha256(self.read_bytes(uri))
        except MissingData:
            return None

    @staticmethod
    def encode(table: pa.Table) -> bytes:
        """The bytes of a table's Parquet file: the same table gives the same."""
        sink = io.BytesIO()
        pq.write_table(table.combine_chunks(), sink, compression="zstd")
        return sink.getvalue()

    @staticmethod
    def column_digests(content: bytes) -> dict[str, str]:
        """By column of a flat table's Parquet file, a digest of its type and of its values in their order.

        The bytes of a column in such a file do not depend on other columns.
        """
        footer = pq.read_metadata(pa.BufferReader(content))
        digests = {}
        for number, field in enumerate(footer.schema.to_arrow_schema()):
            digest = hashlib.sha256(str(field.type).encode())
            for group in range(footer.num_row_groups):
                chunk = footer.row_group(group).column(number)
                start = min(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset)
                digest.update(memoryview(content)[start : start + chunk.total_compressed_size])
            digests[field.name] = digest.hexdigest()[:16]
        return digests

    def write_table(self, uri: str, table: pa.Table) -> str:
        """Write one Parquet file and return its sha256."""
        return self.write_bytes(uri, self.encode(table))

    def read_table(self, uri: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one Parquet file.

        Raises:
            MissingData: if there is no such file.
            CorruptData: if it is not a whole Parquet file.
        """
        return self.parse_table(uri, self.read_bytes(uri), columns)

    @staticmethod
    def parse_table(uri: str, content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
        """The table in the bytes of a Parquet file; errors as `read_table`."""
        try:
            if columns is None and len(content) < SMALL:
                return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
            return pq.read_table(io.BytesIO(content), columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptData(
                f"{uri} is not a whole Parquet file ({error}); delete it and run its step again"
            ) from None

    def count_rows(self, uri: str) -> int:
        """The number of rows of one Parquet file, from its footer; errors as `read_table`."""
        return int(self._footer(uri).num_rows)

    def column_names(self, uri: str) -> list[str]:
        """The columns of one Parquet file, from its footer; errors as `read_table`."""
        return list(self._footer(uri).schema.to_arrow_schema().names)

    def _footer(self, uri: str) -> Any:
        try:
            with self.fs.open(uri, "rb") as file:
                return pq.read_metadata(file)
        except FileNotFoundError:
            raise MissingData(f"{uri} does not exist; run the step that writes it") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptData(
                f"{uri} is not a whole Parquet file ({error}); delete it and run its step again"
            ) from None

    def read_tables(self, uris: Iterable[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The tables of several files of one schema, concatenated."""
        return pa.concat_tables([self.read_table(uri, columns) for uri in uris], promote_options="permissive")
