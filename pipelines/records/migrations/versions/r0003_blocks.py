"""A dependence block of the prediction log has a name and the instant at which it closes, and is no longer a day.

The name of a day's block is its ISO date. When that day ended depends on the use case's time zone, which the database
does not know: the block gets the latest instant at which the date ends anywhere, noon UTC of the next day (in UTC-12).
So no block of old rows closes too early; the judge may count it some hours later than before.

Either database writes the table once, which takes minutes for a million rows, and needs the room of a second copy
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TABLE, COPY = "predictions", "predictions_0003"
INDEX = "ix_predictions_progress"
COVERED = ["usecase", "plan", "predicted_at", "closes_at", "block", "failed"]
LATEST = 36 * 3600  # seconds from midnight UTC of a date to its end in the westernmost zone
CACHE = -256 * 1024  # kB of pages in memory, so that the new table's key, whose values are random, is not read again


def upgrade() -> None:
    op.drop_index(INDEX, TABLE)
    if op.get_bind().dialect.name == "sqlite":
        _copy()
    else:
        _alter()
    op.create_index(INDEX, TABLE, COVERED)


def _alter() -> None:
    """One statement for all that rewrites rows, since PostgreSQL then writes the table once."""
    op.add_column(TABLE, sa.Column("closes_at", sa.BigInteger))
    op.execute(
        f"alter table {TABLE} "
        f"alter column closes_at type bigint using (extract(epoch from block)::bigint + {LATEST}) * 1000000, "
        "alter column block type varchar(128) using to_char(block, 'YYYY-MM-DD'), "
        "alter column closes_at set not null"
    )


def _copy() -> None:
    """SQLite changes neither a column's type nor adds one without a value: the rows move to a table of the new form."""
    earlier = sa.Table(TABLE, sa.MetaData(), autoload_with=op.get_bind())
    columns = list(_columns(earlier))
    op.create_table(COPY, *columns)
    names = ", ".join(column.name for column in columns)
    values = names.replace("closes_at", f"(cast(strftime('%s', block) as integer) + {LATEST}) * 1000000")
    cache = op.get_bind().scalar(sa.text("pragma cache_size"))
    op.execute(f"pragma cache_size = {CACHE}")
    op.execute(f"insert into {COPY} ({names}) select {values} from {TABLE} order by rowid")
    op.drop_table(TABLE)
    op.rename_table(COPY, TABLE)
    op.create_index(f"ix_{TABLE}_predicted_at", TABLE, ["predicted_at"])
    op.execute(f"pragma cache_size = {cache}")


def _columns(earlier: sa.Table) -> Iterator[sa.Column[object]]:
    """The columns of the new table; those that stay are as the database has them."""
    for column in earlier.columns:
        if column.name == "block":
            yield sa.Column("block", sa.String(128), nullable=False)
            yield sa.Column("closes_at", sa.BigInteger, nullable=False)
        else:
            yield column._copy()
