"""Rules that only a flight has, as Great Expectations."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipelines.validation.expectations import RowExpectation, Skipped, row_rule

DAY = 24 * 60  # minutes


@row_rule
class ExpectClockTimesToFitDelays(RowExpectation):
    """The second column, a clock time, is the first plus the third, a delay in minutes; midnight may be passed.

    Clock times are written as HHMM, 0 to 2400, in the zone of one place.
    """

    map_metric = "flights.clock_fits_delay"

    @staticmethod
    def meets(columns: pd.DataFrame, **arguments: Any) -> pd.Series:
        scheduled, actual, delay = (columns.iloc[:, n] for n in range(3))
        good: pd.Series = (minutes(scheduled) + delay - minutes(actual)) % DAY == 0
        return good


@row_rule
class ExpectClockTimes(RowExpectation):
    """Each column holds a clock time written as HHMM: 0 to 2400, minutes below 60. Missing values are passed over."""

    ignore_row_if: Skipped = "all_values_are_missing"
    map_metric = "flights.clock_time"

    @staticmethod
    def meets(columns: pd.DataFrame, **arguments: Any) -> pd.Series:
        fits = (columns >= 0) & (columns <= 2400) & (columns % 100 < 60)
        good: pd.Series = (fits | columns.isna()).all(axis=1)
        return good


def minutes(clock: pd.Series) -> pd.Series:
    """HHMM as minutes since midnight."""
    return clock // 100 * 60 + clock % 100
