"""Predictions have a decision and what they went without; writers of the log say how far they have come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("predictions", sa.Column("decision", sa.Boolean))  # unknown of the predictions that are there
    op.add_column("predictions", sa.Column("lacks", sa.String(8)))
    op.add_column("predictions", sa.Column("layout", sa.String(16)))
    op.add_column("predictions", sa.Column("inputs", sa.LargeBinary))
    op.create_table(
        "log_layouts",
        sa.Column("usecase", sa.String(64), primary_key=True),
        sa.Column("layout", sa.String(16), primary_key=True),
        sa.Column("content", sa.JSON, nullable=False),
    )
    op.create_table(
        "log_writers",
        sa.Column("usecase", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("watermark", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
    )
