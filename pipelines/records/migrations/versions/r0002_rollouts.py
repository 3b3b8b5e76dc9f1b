"""Rollouts have a table of their own, filled from the ledger's keys; the ledger names aliases in a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

from pipelines.records.migrations.append_only import protect, unprotect

revision = "0002"
down_revision = "0001"

BASELINE = (
    *("challenger_uri", "challenger_sha256", "evaluation_uri", "champion_uri", "champion_sha256"),
    *("champion_loss", "champion_loss_from", "slow_ms"),
)


def upgrade() -> None:
    rollouts = op.create_table(
        "rollouts",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("usecase", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("version", sa.String(16), nullable=False),
        sa.Column("champion", sa.String(16)),
        sa.Column("change", sa.Integer, nullable=False),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("challenger_uri", sa.Text, nullable=False),
        sa.Column("challenger_sha256", sa.String(64), nullable=False),
        sa.Column("evaluation_uri", sa.Text, nullable=False),
        sa.Column("champion_uri", sa.Text),
        sa.Column("champion_sha256", sa.String(64)),
        sa.Column("champion_loss", sa.Float),
        sa.Column("champion_loss_from", sa.String(16)),
        sa.Column("slow_ms", sa.Float),
        sa.Column("ending", sa.String(32)),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("ended_by", sa.String(64)),
        sa.Column("ended_because", sa.Text),
        sa.Column("decision_id", sa.String(16)),
        sa.UniqueConstraint("usecase", "name"),
    )
    op.add_column("promotion_ledger", sa.Column("alias", sa.String(64)))
    connection = op.get_bind()
    ledger = sa.Table("promotion_ledger", sa.MetaData(), autoload_with=connection)
    entries = [dict(row) for row in connection.execute(sa.select(ledger).order_by(ledger.c.number)).mappings()]

    ends = {(entry["usecase"], entry["key"]): entry for entry in entries}
    for entry in entries:
        name, mark, rest = entry["key"].rpartition(":start")
        if entry["action"] == "start" and mark and not rest:
            connection.execute(rollouts.insert().values(_row(name, entry, ends.get((entry["usecase"], f"{name}:end")))))

    unprotect(connection, "promotion_ledger")
    for entry in entries:
        if entry["action"].startswith("alias "):
            values = {"action": "alias", "alias": entry["evidence"]["alias"]}
            connection.execute(ledger.update().where(ledger.c.number == entry["number"]).values(values))
    protect(connection, "promotion_ledger")


def _row(name: str, start: Mapping[str, Any], end: Mapping[str, Any] | None) -> dict[str, Any]:
    evidence = start["evidence"]
    return {
        "usecase": start["usecase"],
        "name": name,
        "version": start["version"],
        "champion": start["previous"],
        "change": evidence["change"],
        "began_at": start["at"],
        **{field: evidence.get(field) for field in BASELINE},
        "ending": end and end["action"],
        "ended_at": end and end["at"],
        "ended_by": end and end["actor"],
        "ended_because": end and end["reason"],
        "decision_id": end and end["evidence"].get("decision_id"),
    }
