"""The part of the prediction log that judging needs: no requests, no features."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import pandas as pd
import sqlalchemy as sa

from pipelines.records.predictions import OUTCOMES, PREDICTIONS

P, O = PREDICTIONS.c, OUTCOMES.c  # noqa: E741
READ = (P.entity, P.block, P.predicted_at, P.plan, P.share, P.served, P.scores, P.milliseconds, P.errors)
NAMES = [column.name for column in READ]


def read_rows(
    engine: sa.Engine, usecase: str, plans: Sequence[int], known_by: datetime, since: datetime | None = None
) -> pd.DataFrame:
    """Predictions under these plans, in order, with their labels (None and NaT where there is none).

    Only what was there before an instant: what comes at that very instant may come after the look.

    Columns: entity, block, predicted_at, plan, share, served, scores, milliseconds, errors, label, known_at.
    """
    joined = sa.and_(O.usecase == P.usecase, O.prediction_id == P.prediction_id, O.known_at < known_by)
    query = (
        sa.select(*READ, O.label, O.known_at)
        .select_from(PREDICTIONS.outerjoin(OUTCOMES, joined))
        .where(P.usecase == usecase, P.plan.in_(plans), P.predicted_at < known_by)
        .order_by(P.predicted_at, P.prediction_id)
    )
    if since is not None:
        query = query.where(P.predicted_at >= since)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(query)]
    frame = pd.DataFrame(found, columns=[*NAMES, "label", "known_at"])
    for name in ("predicted_at", "known_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame


def progress(
    engine: sa.Engine, usecase: str, plans: Sequence[int], now: datetime, closed: date
) -> tuple[int, int, int]:
    """(predictions, predictions with an error, closed blocks with predictions): no rows read, an index alone."""
    here = (P.usecase == usecase, P.plan.in_(plans), P.predicted_at < now)
    failed = sa.func.sum(sa.cast(P.failed, sa.Integer))
    blocks = sa.func.count(sa.distinct(sa.case((P.block <= closed, P.block))))
    with engine.connect() as connection:
        counts = connection.execute(sa.select(sa.func.count(), failed, blocks).where(*here)).one()
    return int(counts[0]), int(counts[1] or 0), int(counts[2])
