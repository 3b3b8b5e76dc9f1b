"""Features of the request itself: the same function for training and for serving."""

from __future__ import annotations

import pandas as pd

ZONE = "America/New_York"


def request_features(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with dep_minute, dep_hour, dep_weekday (local, at origin) and scheduled_minutes.

    Needs `sched_dep_at` and `sched_arr_at` (UTC). Works row by row: no row bears on another.
    """
    local = frame["sched_dep_at"].dt.tz_convert(ZONE)
    return frame.assign(
        dep_minute=(local.dt.hour * 60 + local.dt.minute).astype("float32"),
        dep_hour=local.dt.hour.astype("float32"),
        dep_weekday=local.dt.weekday.astype("float32"),
        scheduled_minutes=((frame["sched_arr_at"] - frame["sched_dep_at"]).dt.total_seconds() / 60).astype("float32"),
    )
