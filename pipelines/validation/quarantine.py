"""The bad rows of each partition and their reasons, as row numbers, so that a window of any size fits in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.periods import Period

RowNumbers = npt.NDArray[np.int64]  # row numbers in a partition, from 0


class Quarantine:
    """The bad rows of one table, by partition (a period, None for a reference table) and reason."""

    def __init__(self) -> None:
        self._rows: dict[Period | None, dict[str, RowNumbers]] = {}

    def add(self, period: Period | None, reason: str, rows: npt.ArrayLike) -> None:
        """Add rows of a partition; adding a row twice for one reason has no effect."""
        numbers = np.asarray(rows, dtype=np.int64)
        if len(numbers):
            reasons = self._rows.setdefault(period, {})
            reasons[reason] = np.union1d(reasons.get(reason, np.empty(0, np.int64)), numbers)

    def drop(self, period: Period | None, reason: str, rows: npt.ArrayLike) -> None:
        """Remove rows for one reason."""
        reasons = self._rows.get(period, {})
        if reason in reasons:
            reasons[reason] = np.setdiff1d(reasons[reason], np.asarray(rows, dtype=np.int64))

    def rows(self, period: Period | None) -> RowNumbers:
        """The bad rows of a partition, in order."""
        reasons = list(self._rows.get(period, {}).values())
        return np.unique(np.concatenate(reasons)) if reasons else np.empty(0, np.int64)

    def codes(self, period: Period | None) -> dict[int, str]:
        """The reasons of each bad row of a partition, in the order in which they were first added, joined by commas."""
        codes: dict[int, str] = {}
        for reason, rows in self._rows.get(period, {}).items():
            for row in rows.tolist():
                codes[row] = f"{codes[row]},{reason}" if row in codes else reason
        return dict(sorted(codes.items()))

    def reasons(self, period: Period | None) -> dict[str, int]:
        """Bad rows of a partition by reason, the most frequent first."""
        counts = {reason: len(rows) for reason, rows in self._rows.get(period, {}).items() if len(rows)}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def periods(self) -> list[Period | None]:
        return [period for period in self._rows if len(self.rows(period))]

    @property
    def total(self) -> int:
        """Bad rows of the table."""
        return sum(len(self.rows(period)) for period in self._rows)

    def counts(self) -> Mapping[str, int]:
        """Rows by reason; a row with two reasons counts under both."""
        counts: dict[str, Any] = {}
        for period in self._rows:
            for reason, n in self.reasons(period).items():
                counts[reason] = counts.get(reason, 0) + n
        return dict(sorted(counts.items()))
