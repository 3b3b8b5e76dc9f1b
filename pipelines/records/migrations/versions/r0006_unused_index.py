"""Predictions have no index by time alone: every query is of a plan, whose index has the time."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.drop_index("ix_predictions_predicted_at", "predictions")
