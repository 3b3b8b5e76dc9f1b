"""What a rollout foretells of its pair is kept with it, and one that ends undecided is inconclusive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pipelines.records.migrations.append_only import protect, unprotect

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("rollouts", sa.Column("foretold", sa.JSON))
    op.execute("UPDATE rollouts SET ending = 'inconclusive' WHERE ending = 'keep'")
    connection = op.get_bind()
    unprotect(connection, "promotion_ledger")
    op.execute("UPDATE promotion_ledger SET action = 'inconclusive' WHERE action = 'keep'")
    protect(connection, "promotion_ledger")
