"""A prediction log, read whole."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from pipelines.records import Prediction, PredictionLog
from pipelines.records.predictions import OUTCOMES


def read_log(log: PredictionLog) -> list[Prediction]:
    """Every prediction, in order."""
    return log.all()


def labels(log: PredictionLog) -> dict[str, tuple[float, datetime]]:
    """Label, and the instant from which it is known, by prediction id."""
    outcome = OUTCOMES.c
    query = sa.select(outcome.prediction_id, outcome.label, outcome.known_at).where(outcome.usecase == log.usecase)
    with log.engine.connect() as connection:
        return {identity: (label, known_at) for identity, label, known_at in connection.execute(query)}
