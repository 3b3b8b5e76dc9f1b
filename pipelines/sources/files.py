"""CSV and Parquet files by fsspec: a path, s3://, http:// and the like; .gz, .bz2, .xz and .zip are unpacked."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from pipelines.errors import CorruptData, FlightdeckError, InvalidInput, MissingData
from pipelines.params.source import Files
from pipelines.sources.conform import declared_types, require_columns
from pipelines.sources.source import Delivery, Piece
from pipelines.usecase import RawTable

BLOCK = 16 << 20  # bytes of CSV read at once; no row may be longer
ROWS = 100_000
COLUMN = re.compile(r"CSV column #(\d+)")


class FileSource:
    """Files named by a pattern. A reference table has no days, so its pattern may only name the table.

    A file of a day holds that day's rows and no others, unless it tells what changed (`incremental`).
    """

    def __init__(self, settings: Files) -> None:
        self.settings = settings
        self.timezone = settings.timezone

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        empty = pa.table({name: pa.array([], kind) for name, kind in declared_types(delivery.table).items()})
        for day, pattern in self._patterns(delivery):
            uris = self._found(pattern, delivery.table)
            if not uris:
                yield Piece(empty, day=day, absent=True)
            for uri in uris:
                for rows in self._rows(uri, delivery.table):
                    yield Piece(rows, day=None if self.settings.incremental else day, origin=uri)

    def _patterns(self, delivery: Delivery) -> list[tuple[date | None, str]]:
        pattern = self.settings.uri.replace("{table}", delivery.table.name)
        if "{day}" not in pattern:
            return [(None, pattern)]
        if not delivery.table.daily:
            raise InvalidInput(
                f"source.uri {self.settings.uri} names a file a day, and {delivery.table.name} has no days; "
                f"give it a uri of its own under sources.{delivery.table.name}"
            )
        return [(day, pattern.replace("{day}", day.isoformat())) for day in delivery.window.days]

    def _found(self, pattern: str, table: RawTable) -> list[str]:
        try:
            fs, path = fsspec.core.url_to_fs(pattern)
            found = sorted(fs.glob(path)) if "*" in path else [path] if fs.exists(path) else []
        except (ImportError, ValueError) as error:
            raise InvalidInput(f"source.uri {pattern}: {error}; install what it needs, or correct it") from None
        except Exception as error:  # every kind of store has errors of its own
            raise _unreachable(pattern, error) from None
        if not found and (table.required or not table.daily):
            raise MissingData(f"{pattern} does not exist; correct the uri of the source in params.yaml")
        if not found and "*" not in path:
            _require_absent(fs, path, pattern)
        return [fs.unstrip_protocol(path) for path in found]

    def _rows(self, uri: str, table: RawTable) -> Iterator[pa.Table]:
        is_parquet = self.settings.format == "parquet" or (self.settings.format is None and ".parquet" in uri)
        names: list[str] = []
        try:
            if is_parquet:
                with fsspec.open(uri, "rb") as file:
                    read = pq.ParquetFile(file)
                    yield read.schema_arrow.empty_table()
                    for batch in read.iter_batches(ROWS):
                        yield pa.Table.from_batches([batch])
                return
            with self._csv(uri, {}) as reader:
                names = reader.schema.names
            if len(names) == 1 and len(table.columns) > 1:
                raise CorruptData(
                    f"{uri} has the one column {names[0][:80]!r}; is {self.settings.delimiter!r} its delimiter?"
                )
            require_columns(names, table)
            with self._csv(uri, {name: _read_as(name, table) for name in names}) as reader:
                yield reader.schema.empty_table()
                for batch in reader:
                    yield pa.Table.from_batches([batch])
        except FlightdeckError as error:
            raise type(error)(f"{uri}: {error}") from None
        except FileNotFoundError:
            raise MissingData(f"{uri} does not exist; correct the uri of the source in params.yaml") from None
        # A file cut short, packed otherwise, not what it says it is; or a store's own errors.
        except Exception as error:
            raise CorruptData(f"{uri} cannot be read ({_told(error, names)}); fetch it again, or correct it") from None

    @contextmanager
    def _csv(self, uri: str, types: dict[str, pa.DataType]) -> Iterator[Any]:
        """A reader of a CSV, block by block. Bytes that are no text in the declared encoding are an error."""
        with (
            fsspec.open(uri, "rb", compression=None if _is_zip(uri) else "infer") as file,
            _unzipped(uri, file) as plain,
        ):
            yield csv.open_csv(
                plain,
                csv.ReadOptions(block_size=BLOCK, encoding=self.settings.encoding, use_threads=False),
                csv.ParseOptions(delimiter=self.settings.delimiter, newlines_in_values=True),
                csv.ConvertOptions(
                    column_types=types, null_values=list(self.settings.null_values), strings_can_be_null=True
                ),
            )


def _is_zip(uri: str) -> bool:
    return bool(fsspec.utils.infer_compression(uri) == "zip")


@contextmanager
def _unzipped(uri: str, file: Any) -> Iterator[Any]:
    """The one file of an archive; what is no archive as it is."""
    if not _is_zip(uri):
        yield file
        return
    with zipfile.ZipFile(file) as archive:
        members = [member.filename for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise CorruptData(
                f"the archive holds {len(members)} files ({', '.join(members)[:200]}), and one is read; "
                "give each an archive of its own, and name them all with * in the uri"
            )
        with archive.open(members[0]) as member:
            yield member


def _require_absent(fs: Any, path: str, pattern: str) -> None:
    """Some stores say of a file that they cannot reach that it does not exist: a day without rows must be one."""
    try:
        fs.cat_file(path, start=0, end=1)
    except FileNotFoundError:
        return
    except Exception as error:
        raise _unreachable(pattern, error) from None


def _unreachable(pattern: str, error: Exception) -> MissingData:
    return MissingData(f"{pattern} cannot be reached ({_told(error, [])}); see that it is up, and run the step again")


def _read_as(name: str, table: RawTable) -> pa.DataType:
    """The type a column is parsed to: instants stay text, since their offset is told apart later; unknown ones too."""
    kind = declared_types(table).get(name, pa.string())
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _told(error: BaseException, names: list[str]) -> str:
    """The error in one line, with the column's name for its number."""
    text = " ".join((str(error) or type(error).__name__).split())[:300]
    found = COLUMN.search(text)
    return text.replace(found[0], f"column {names[int(found[1])]}") if found and int(found[1]) < len(names) else text
