"""What is validated is noted by column, so that a change of one makes nothing out of date that does not read it.

Of what was validated before there are no such notes: features that rest on it are held against its whole partitions.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("validated_partitions", sa.Column("columns", sa.JSON))
