"""Columns that named local days name periods, whose names may be longer; the names of days stay."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NAME = sa.String(20)
RENAMED = ("partition_history", "validated_partitions", "built_features")  # from day to period
WIDENED = {
    "partition_history": ("period", "start", "end"),
    "validated_partitions": ("period",),
    "built_features": ("period",),
    "quarantine_releases": ("partition",),
    "data_snapshots": ("start", "end"),
}


def upgrade() -> None:
    for table in RENAMED:
        op.execute(f"alter table {table} rename column day to period")  # on both databases; keys and indexes follow
    for table, columns in WIDENED.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.alter_column(column, type_=NAME, postgresql_using=f'"{column}"::text')
