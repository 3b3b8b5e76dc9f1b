"""CSV and Parquet files by fsspec: a path, s3://, http:// and the like; .gz, .bz2, .xz and .zip are decompressed."""

from __future__ import annotations

import csv as csv_of_text
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from typing import Any
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pyarrow import csv

from pipelines.closed import ALWAYS_OPEN, WEEK, Closed
from pipelines.errors import CorruptData, FlightdeckError, InvalidInput, MissingData, Unavailable
from pipelines.params.source import Files, fill
from pipelines.periods import Period, name_of
from pipelines.sources.addresses import scrub
from pipelines.sources.conform import require_columns
from pipelines.sources.source import Delivery, Piece
from pipelines.sources.types import declared_types
from pipelines.usecase import RawTable
from pipelines.windows import Window

BLOCK = 16 << 20  # bytes of CSV read at once; no row may be longer
ROWS = 100_000
STAR = "\ue000"  # a private-use character, which no name has
VERSION = ("size", "mtime", "etag", "ETag", "LastModified", "last_modified", "updated")  # the stores' names for it
LOCAL = ("file://", "local://")
CLIENTS = ("aiohttp", "botocore", "asyncio")  # packages whose errors mean that a store cannot be reached
COLUMN = re.compile(r"CSV column #(\d+)")


@dataclass(frozen=True)
class Place:
    """A file in a store, and its URI as messages show it."""

    fs: Any
    path: str
    uri: str

    def open(self, compression: str | None = None) -> Any:
        return fsspec.core.OpenFile(self.fs, self.path, "rb", compression)

    @property
    def compression(self) -> str | None:
        """The compression that the file's name stands for."""
        compression: str | None = fsspec.utils.infer_compression(self.path)
        return compression


class FileSource:
    """Files named by a pattern. A reference table has no periods, so its pattern may only name the table.

    A file of a period holds that period's rows only, unless the source is `incremental`: then it holds the changes that
    it brought.
    """

    def __init__(self, settings: Files, timezone: str, closed: Closed = ALWAYS_OPEN) -> None:
        self.settings, self.closed = settings, closed
        self.timezone = timezone

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        empty = pa.table({name: pa.array([], kind) for name, kind in declared_types(delivery.table).items()})
        for period, values in self._files(delivery):
            needed = period is None or not self.closed.on(delivery.window.calendar.day_of(period))
            places = self._places(values, delivery.table, needed)
            if not places:
                yield Piece(empty, period=period, absent=True)
            for place in places:
                is_csv, own = not self._is_parquet(place), None if self.settings.incremental else period
                nulls, before = self.settings.null_values if is_csv else None, 0
                for rows in self._rows(place, delivery.table):
                    locate = partial(self._locate, place, before)
                    yield Piece(rows, period=own, origin=place.uri, nulls=nulls, locate=locate)
                    before += rows.num_rows

    def _locate(self, place: Place, before: int, row: int) -> str:
        """Where a row stands in a file. Lines are counted anew: some may be empty, and a cell may hold several."""
        number, rows, read = before + row + 1, -1, 0  # the first row is the header
        if self._is_parquet(place):
            return f"row {number}"
        with suppress(Exception), self._plain(place) as file:  # what is wrong with the file is told anyhow
            text = TextIOWrapper(file, self.settings.encoding, newline="")
            lines = csv_of_text.reader(text, delimiter=self.settings.delimiter)
            for cells in lines:
                rows += bool(cells)
                if cells and rows == number:
                    return f"line {read + 1}"
                read = lines.line_num
        return f"row {number}"

    def versions(self, table: RawTable, window: Window) -> dict[str, list[str]]:
        """By URI, the size and the time of change of each file of these periods, as far as its store knows them."""
        places = [place for _, values in self._files(Delivery(table, window)) for place in self._places(values, table)]
        infos = {place.uri: place.fs.info(place.path) for place in places}
        return {
            uri: [f"{key}: {info[key]}" for key in VERSION if info.get(key) is not None] for uri, info in infos.items()
        }

    def _files(self, delivery: Delivery) -> list[tuple[Period | None, dict[str, str]]]:
        """The values of the placeholders, by period; several may name one file."""
        name, table, window = {"table": delivery.table.name}, delivery.table, delivery.window
        by = next((by for by in ("day", "period") if f"{{{by}}}" in self.settings.uri), None)
        if by is None:
            return [(None, name)]
        if not table.daily:
            raise InvalidInput(
                f"source.uri {self.settings.uri} names a file a {by}, and {table.name} has no {by}s; "
                f"give it a uri of its own under sources.{table.name}"
            )
        if by == "period" or window.calendar.daily:
            return [(period, name | {by: name_of(period)}) for period in window.periods]
        days = dict.fromkeys(map(window.calendar.day_of, window.periods))
        return [(None, name | {"day": day.isoformat()}) for day in days]

    def _places(self, values: dict[str, str], table: RawTable, needed: bool = False) -> list[Place]:
        pattern = scrub(fill(self.settings.uri, values))
        try:
            fs, path = self._resolve(values)
            has_star = STAR in path
            paths = sorted(fs.glob(_pattern(path))) if has_star else [path] if fs.exists(path) else []
        except (ImportError, ValueError) as error:
            raise InvalidInput(
                f"source.uri {pattern}: {scrub(str(error))}; install what it needs, or correct it"
            ) from None
        except OSError as error:
            raise _unusable(pattern, error) from None
        except Exception as error:  # every kind of store has errors of its own
            raise _unreachable(pattern, error) from None
        if not paths and not has_star:
            _require_absent(fs, path, pattern)
        if not paths and needed and ((table.days_a_week == WEEK and table.required) or not table.daily):
            raise MissingData(f"{pattern} does not exist; correct the uri of the source in params.yaml")
        places = [Place(fs, path, scrub(fs.unstrip_protocol(path))) for path in paths]
        for place in places:
            _require_file(place)
        return places

    def _resolve(self, values: dict[str, str]) -> tuple[Any, str]:
        """The store and the path in it, in which STAR stands for each `*` of the params; other `*` belong to names."""
        uri = self.settings.uri.replace("*", STAR)
        if "://" not in uri and "::" not in uri:  # a path, whatever characters a table's name has
            return LocalFileSystem(), LocalFileSystem._strip_protocol(fill(uri, values))
        if uri.startswith(("http://", "https://")):
            values = {name: quote(value, safe="") for name, value in values.items()}
        fs, path = fsspec.core.url_to_fs(fill(uri, values))
        return fs, path

    def _is_parquet(self, place: Place) -> bool:
        return self.settings.format == "parquet" or (self.settings.format is None and ".parquet" in place.path)

    def _rows(self, place: Place, table: RawTable) -> Iterator[pa.Table]:
        """A file's rows, in batches; the cells of a CSV as text."""
        uri, names = place.uri, []
        try:
            if self._is_parquet(place):
                with place.open() as file:
                    parquet_file = pq.ParquetFile(file)
                    yield parquet_file.schema_arrow.empty_table()
                    for batch in parquet_file.iter_batches(ROWS):
                        yield pa.Table.from_batches([batch])
                return
            with self._csv(place, []) as reader:
                names = reader.schema.names
            if len(names) == 1 and len(table.columns) > 1:
                raise CorruptData(
                    f"{uri} has the one column {names[0][:80]!r}; is {self.settings.delimiter!r} its delimiter?"
                )
            require_columns(names, table)
            with self._csv(place, names) as reader:
                yield reader.schema.empty_table()
                for batch in reader:
                    yield pa.Table.from_batches([batch])
        except FlightdeckError as error:
            raise type(error)(f"{uri}: {error}") from None
        except FileNotFoundError:
            raise MissingData(f"{uri} does not exist; correct the uri of the source in params.yaml") from None
        # The store is away; or the file is cut short, compressed otherwise, or of another format than its name says.
        except Exception as error:
            if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.startswith(CLIENTS):
                raise _unreachable(uri, error) from None
            remedy = "fetch it again, or correct it, or the encoding or delimiter of its source"
            raise CorruptData(f"{uri} cannot be read ({_line(error, names)}); {remedy}") from None

    @contextmanager
    def _csv(self, place: Place, names: list[str]) -> Iterator[Any]:
        """A reader of a CSV, block by block, in which the columns of `names` are text.

        Bytes that are not text in the declared encoding are an error.
        """
        with self._plain(place) as plain:
            yield csv.open_csv(
                plain,
                csv.ReadOptions(block_size=BLOCK, encoding=self.settings.encoding, use_threads=False),
                csv.ParseOptions(delimiter=self.settings.delimiter, newlines_in_values=True),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=list(self.settings.null_values),
                    strings_can_be_null=True,
                ),
            )

    @contextmanager
    def _plain(self, place: Place) -> Iterator[Any]:
        """A file without its compression."""
        is_zip = place.compression == "zip"
        with (
            place.open(None if is_zip else place.compression) as file,
            _unzipped(place.uri, file) if is_zip else nullcontext(file) as plain,
        ):
            yield plain


@contextmanager
def _unzipped(uri: str, file: Any) -> Iterator[Any]:
    """The one file of an archive."""
    with zipfile.ZipFile(file) as archive:
        members = [member.filename for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise CorruptData(
                f"the archive holds {len(members)} files ({', '.join(members)[:200]}), but only one is read; "
                "give each an archive of its own, and name them all with * in the uri"
            )
        with archive.open(members[0]) as member:
            yield member


def _pattern(path: str) -> str:
    """A glob pattern in which only STAR is a wildcard."""
    return re.sub(r"[\[?*]", r"[\g<0>]", path).replace(STAR, "*")


def _require_file(place: Place) -> None:
    """Refuse what is not a regular file: reading a pipe or a device may never end."""
    local = [place.path] if isinstance(place.fs, LocalFileSystem) else place.uri.split("::")
    for path in (
        LocalFileSystem._strip_protocol(part) for part in local if "://" not in part or part.startswith(LOCAL)
    ):
        if os.path.exists(path) and not os.path.isfile(path):
            kind = "a folder; name its files, as in /*.csv" if os.path.isdir(path) else "a pipe or a device"
            raise InvalidInput(f"{place.uri} is not a file but {kind}; correct the uri of the source in params.yaml")


def _require_absent(fs: Any, path: str, pattern: str) -> None:
    """Check that a file is absent: some stores call a file missing that they cannot reach, and its day has rows."""
    try:
        fs.cat_file(path, start=0, end=1)
    except FileNotFoundError:
        return
    except Exception as error:
        raise _unreachable(pattern, error) from None


def _unusable(pattern: str, error: OSError) -> FlightdeckError:
    """The error for a place on a disk; one behind a network counts as unreachable."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MissingData(f"{pattern} does not exist; correct the uri of the source in params.yaml")
    if isinstance(error, PermissionError):
        return InvalidInput(f"{pattern} cannot be read ({_line(error, [])}); give this user the right to read it")
    return _unreachable(pattern, error)


def _unreachable(pattern: str, error: Exception) -> Unavailable:
    return Unavailable(f"{pattern} cannot be reached ({_line(error, [])}); see that it is up, and run the step again")


def _line(error: BaseException, names: list[str]) -> str:
    """The error in one line, with the column's name for its number."""
    text = scrub(" ".join((str(error) or type(error).__name__).split()))[:300]
    match = COLUMN.search(text)
    return text.replace(match[0], f"column {names[int(match[1])]}") if match and int(match[1]) < len(names) else text
