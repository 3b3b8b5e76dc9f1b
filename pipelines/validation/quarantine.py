"""The bad rows of each partition and their reasons, as row numbers, so that a window of any size fits in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

RowNumbers = npt.NDArray[np.int64]  # row numbers in a partition, from 0


class Quarantine:
    """The bad rows of one table, by partition (a day, None for a reference table) and reason."""

    def __init__(self) -> None:
        self._rows: dict[date | None, dict[str, RowNumbers]] = {}

    def add(self, day: date | None, reason: str, rows: npt.ArrayLike) -> None:
        """Add rows of a partition; adding a row twice for one reason has no effect."""
        numbers = np.asarray(rows, dtype=np.int64)
        if len(numbers):
            reasons = self._rows.setdefault(day, {})
            reasons[reason] = np.union1d(reasons.get(reason, np.empty(0, np.int64)), numbers)

    def drop(self, day: date | None, reason: str, rows: npt.ArrayLike) -> None:
        """Remove rows for one reason."""
        reasons = self._rows.get(day, {})
        if reason in reasons:
            reasons[reason] = np.setdiff1d(reasons[reason], np.asarray(rows, dtype=np.int64))

    def rows(self, day: date | None) -> RowNumbers:
        """The bad rows of a partition, in order."""
        reasons = list(self._rows.get(day, {}).values())
        return np.unique(np.concatenate(reasons)) if reasons else np.empty(0, np.int64)

    def codes(self, day: date | None) -> dict[int, str]:
        """The reasons of each bad row of a partition, in the order in which they were first added, joined by commas."""
        codes: dict[int, str] = {}
        for reason, rows in self._rows.get(day, {}).items():
            for row in rows.tolist():
                codes[row] = f"{codes[row]},{reason}" if row in codes else reason
        return dict(sorted(codes.items()))

    def reasons(self, day: date | None) -> dict[str, int]:
        """Bad rows of a partition by reason, the most frequent first."""
        counts = {reason: len(rows) for reason, rows in self._rows.get(day, {}).items() if len(rows)}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def days(self) -> list[date | None]:
        return [day for day in self._rows if len(self.rows(day))]

    @property
    def total(self) -> int:
        """Bad rows of the table."""
        return sum(len(self.rows(day)) for day in self._rows)

    def counts(self) -> Mapping[str, int]:
        """Rows by reason; a row with two reasons counts under both."""
        counts: dict[str, Any] = {}
        for day in self._rows:
            for reason, n in self.reasons(day).items():
                counts[reason] = counts.get(reason, 0) + n
        return dict(sorted(counts.items()))
