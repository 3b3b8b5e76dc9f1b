"""What features rest on is noted for each feature table: a change of one makes no other out of date.

What was noted of all tables together stays, under no table's name: it equals nothing, so that the next data run builds
those periods once more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.rename_table("built_features", "built_before")
    op.create_table(
        "built_features",
        sa.Column("usecase", sa.String(64), primary_key=True),
        sa.Column("table", sa.String(64), primary_key=True),
        sa.Column("period", sa.String(20), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.execute(
        'INSERT INTO built_features (usecase, "table", period, sha256) '
        "SELECT usecase, '', period, sha256 FROM built_before"
    )
    op.drop_table("built_before")
