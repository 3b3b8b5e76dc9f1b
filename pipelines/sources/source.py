"""The interface of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from pipelines.errors import MissingData
from pipelines.instants import Ambiguous
from pipelines.periods import Period
from pipelines.usecase import RawTable
from pipelines.windows import Window


class StaleBookmark(MissingData):
    """The source no longer knows the bookmark: the read has to start over."""


@dataclass(frozen=True)
class Delivery:
    """What to read from a source.

    Attributes:
        window: the periods to read; a reference table is read whole.
        since: for an incremental source, read the changes known from this instant on and before the window's end; None:
            from the beginning. Other sources ignore it.
        bookmark: where an earlier read of the same delivery stopped, so that this one goes on from there.
    """

    table: RawTable
    window: Window
    since: datetime | None = None
    bookmark: str | None = None


@dataclass(frozen=True)
class Reading:
    """How text stands for values, and which rows count.

    Attributes:
        formats: of instants and dates, as of `strptime`; without any they are in ISO form.
        decimal, thousands: the signs of numbers in cells of a CSV.
        where: a condition in SQL on the table's columns; "": all rows.
        ambiguous: which instant a local time is that clocks show twice.
    """

    formats: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str = ""
    where: str = ""
    ambiguous: Ambiguous = "refuse"


@dataclass(frozen=True)
class Piece:
    """Some rows as the source delivers them, in the source's own types.

    Attributes:
        bookmark: where a later read can go on after this piece; None where it can only start over.
        period: the one in which all its rows must lie; None: they may lie in any.
        origin: the name of what was read, for messages.
        absent: whether there is nothing to read, for `period` or at all, which differs from an empty file.
        nulls: for a CSV, the words that stand for a missing value; all its cells are text. None: the values have the
            source's types.
        reading: how its text is read, and which of its rows count.
        locate: where in `origin` a row of the piece stands, for messages.
    """

    rows: pa.Table
    bookmark: str | None = None
    period: Period | None = None
    origin: str = ""
    absent: bool = False
    nulls: tuple[str, ...] | None = None
    reading: Reading = Reading()
    locate: Callable[[int], str] | None = None

    def place(self, row: int | None) -> str:
        """Where a row stands, as it ends a message about a value."""
        return f", in {self.locate(row)}" if self.locate is not None and row is not None else ""


class Source(Protocol):
    """Reading does not change the source, and the same delivery gives the same rows unless the data changed."""

    @property
    def timezone(self) -> str:
        """IANA zone of instants without an offset."""

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        """The rows in pieces, at least one, which may be empty; rows of other periods may be among them.

        Raises:
            StaleBookmark: before the first piece, if it cannot go on from the delivery's bookmark.
            MissingData: if there is no such file, table or address.
            CorruptData: if the data are cut short, or are not in the format that they claim.
        """
