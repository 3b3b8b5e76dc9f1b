"""The inputs of a prediction in the log: one packed value, and its layout, stored once for many predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from pipelines.records.database import METADATA, Repository, insert

LAYOUTS = sa.Table(
    "log_layouts",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("layout", sa.String(16), primary_key=True),
    sa.Column("content", sa.JSON, nullable=False),
)
NUMBER, SECONDS = np.dtype("<f4"), np.dtype("<f8")


@dataclass(frozen=True)
class InputLayout:
    """The order of the values: numbers (float32), ages of views in seconds (float64), then categories (a JSON array).

    A number that is missing is NaN, a category "", the age of a view without a row NaN.

    Attributes:
        numbers, texts: names of inputs, as the log has them.
        views: the number of views, each with an age.
        aged: the view of each input that is stored, by name.
    """

    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    views: int
    aged: Mapping[str, int]

    @cached_property
    def digest(self) -> str:
        """The name of the layout in the log."""
        return sha256(msgspec.json.encode(asdict(self), order="sorted")).hexdigest()[:16]

    @property
    def _ends(self) -> tuple[int, int]:
        """The offsets in bytes at which numbers and ages end."""
        middle = len(self.numbers) * NUMBER.itemsize
        return middle, middle + self.views * SECONDS.itemsize

    def encode(
        self, numbers: NDArray[np.float32], texts: NDArray[np.object_], seconds: NDArray[np.float64]
    ) -> list[bytes]:
        """The values of N requests, from (N, numbers), (N, texts) and (N, views)."""
        middle, width = self._ends
        rows = np.empty((len(texts), width), dtype=np.uint8)
        rows[:, :middle] = np.ascontiguousarray(numbers, dtype=NUMBER).view(np.uint8)
        rows[:, middle:] = np.ascontiguousarray(seconds, dtype=SECONDS).view(np.uint8)
        raw = rows.tobytes()
        encode = msgspec.json.encode
        return [raw[n * width : (n + 1) * width] + encode(of) for n, of in enumerate(texts.tolist())]

    def decode(self, value: bytes) -> tuple[dict[str, Any], dict[str, float | None]]:
        """Values by name, None where missing, and the ages of those that are stored, None where there is no row."""
        middle, end = self._ends
        numbers = np.frombuffer(value[:middle], dtype=NUMBER)
        seconds = _or_none(np.frombuffer(value[middle:end], dtype=SECONDS))
        texts = [text or None for text in msgspec.json.decode(value[end:])]
        values = dict(zip((*self.numbers, *self.texts), (*_or_none(numbers), *texts), strict=True))
        return values, {name: seconds[view] for name, view in self.aged.items()}


def _or_none(numbers: NDArray[Any]) -> list[float | None]:
    return [None if number != number else number for number in numbers.tolist()]


class InputLayouts(Repository):
    """The layouts in the log of one use case."""

    def keep(self, layout: InputLayout) -> None:
        """Store a layout, before anything is logged with it."""
        content = msgspec.to_builtins(asdict(layout))
        row = insert(self.engine, LAYOUTS).values(usecase=self.usecase, layout=layout.digest, content=content)
        with self.engine.begin() as connection:
            connection.execute(row.on_conflict_do_nothing())

    def read(self, digests: Sequence[str]) -> dict[str, InputLayout]:
        """The layouts with these digests."""
        query = sa.select(LAYOUTS.c.layout, LAYOUTS.c.content)
        query = query.where(LAYOUTS.c.usecase == self.usecase, LAYOUTS.c.layout.in_(digests))
        with self.engine.connect() as connection:
            return {
                digest: msgspec.convert(content, InputLayout, strict=False)
                for digest, content in connection.execute(query)
            }
