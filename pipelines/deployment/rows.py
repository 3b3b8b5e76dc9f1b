"""The part of the prediction log that the judge needs, as a frame: no requests, no features."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from pipelines.records import Observation, PredictionLog


def read_rows(
    log: PredictionLog,
    plans: Sequence[int],
    known_by: datetime,
    since: datetime | None = None,
    slices: Sequence[str] = (),
) -> pd.DataFrame:
    """The result of `PredictionLog.observations`, one row each (NaN and NaT where there is no label)."""
    rows = log.observations(plans, known_by, since, slices)
    frame = pd.DataFrame(rows, columns=list(Observation._fields))
    for name in ("closes_at", "predicted_at", "known_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame
