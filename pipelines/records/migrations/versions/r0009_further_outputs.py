"""A prediction keeps the further outputs of the version that answered; those from before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("predictions", sa.Column("further", sa.JSON))
