"""The interface of a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import pyarrow as pa

from pipelines.errors import MissingData
from pipelines.usecase import RawTable
from pipelines.windows import Window


class StaleBookmark(MissingData):
    """The source does not know the bookmark any more: the read has to begin anew."""


@dataclass(frozen=True)
class Delivery:
    """What is asked of a source.

    Attributes:
        window: days whose rows are wanted; of a reference table all rows are.
        since: where changes are read: those known from this instant on and before the window's end. None: from the
            beginning. A source that is not incremental does not read it.
        bookmark: where an earlier read of the same stood, so that this one goes on from there.
    """

    table: RawTable
    window: Window
    since: datetime | None = None
    bookmark: str | None = None


@dataclass(frozen=True)
class Piece:
    """Some rows as they were delivered, in the source's own types.

    Attributes:
        bookmark: from where a later read can go on after this piece; None where it can only begin anew.
        day: the only local day that its rows are said to be of; None: they may be of any.
        origin: what was read, for messages.
        absent: there was nothing to read, for `day` or at all, which is not the same as no rows.
        nulls: of a CSV, the words that stand for a missing value: its cells are text, whatever they mean. None: the
            values have the types that the source gave them.
    """

    rows: pa.Table
    bookmark: str | None = None
    day: date | None = None
    origin: str = ""
    absent: bool = False
    nulls: tuple[str, ...] | None = None


class Source(Protocol):
    """Reading has no effect on the source and gives the same for the same delivery, unless the data changed."""

    @property
    def timezone(self) -> str:
        """IANA zone of instants without an offset."""

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        """At least one piece, of no rows where there are none; rows of other days may be among them.

        Raises:
            StaleBookmark: before the first piece, if it cannot go on from the delivery's bookmark.
            MissingData: if there is no such file, table or address.
            CorruptData: if what comes is cut short or is not what it says it is.
        """
