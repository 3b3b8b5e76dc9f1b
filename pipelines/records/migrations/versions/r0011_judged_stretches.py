"""What the judge needs of rows that no later look sees otherwise is kept, so that looks need not read them again.

A rollout under way has nothing kept: its next look reads all rows once more. Outcomes have an index by the instant
from which they are known, by which labels are found that come after that.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "judged_stretches",
        sa.Column("usecase", sa.String(64), primary_key=True),
        sa.Column("rollout", sa.String(128), primary_key=True),
        sa.Column("stretch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("anew", sa.Boolean, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_outcomes_known_at", "outcomes", ["usecase", "known_at"])
