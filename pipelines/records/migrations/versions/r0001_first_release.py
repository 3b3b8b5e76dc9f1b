"""The tables of the first release; a database without a revision that has some of them gets the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import sqlalchemy as sa
from alembic import op

from pipelines.errors import InvalidInput
from pipelines.records.migrations.append_only import protect

revision = "0001"
down_revision = None

LATEST = (("predictions", "failed"), ("routing_plans", "challenger_sha256"))  # columns that earlier tables lack
required = partial(sa.Column, nullable=False)
key = partial(sa.Column, primary_key=True)
counted = partial(sa.Column, primary_key=True, autoincrement=True)


def table(name: str, *parts: sa.schema.SchemaItem, indexed: Sequence[str] = ()) -> None:
    op.create_table(name, *parts, if_not_exists=True)
    for column in indexed:
        op.create_index(f"ix_{name}_{column}", name, [column], if_not_exists=True)


def upgrade() -> None:
    data()
    judgements()
    traffic()
    protect(op.get_bind(), "promotion_ledger")
    for name, column in LATEST:
        if column not in {one["name"] for one in sa.inspect(op.get_bind()).get_columns(name)}:
            raise InvalidInput(
                f"the records database is of a version before 0.1.0 (table {name} has no column {column}) and cannot "
                "be brought up to date; move it away to begin a new one"
            )


def data() -> None:
    table(
        "partition_history",
        counted("number", sa.Integer),
        required("usecase", sa.String(64)),
        required("table", sa.String(64)),
        required("day", sa.String(10)),
        required("sha256", sa.String(64)),
        required("rows", sa.Integer),
        sa.Column("added", sa.Integer),
        sa.Column("removed", sa.Integer),
        required("as_of", sa.BigInteger),
        required("start", sa.String(10)),
        required("end", sa.String(10)),
    )
    columns = ["usecase", "table", "day"]
    op.create_index("ix_partition_history", "partition_history", columns, if_not_exists=True)
    table(
        "watermarks",
        key("usecase", sa.String(64)),
        key("table", sa.String(64)),
        required("at", sa.BigInteger),
    )
    table(
        "data_snapshots",
        counted("number", sa.Integer),
        required("usecase", sa.String(64)),
        required("key", sa.String(255)),
        required("version", sa.String(40)),
        required("files", sa.Integer),
        required("rows", sa.BigInteger),
        sa.Column("start", sa.Date),
        sa.Column("end", sa.Date),
        sa.Column("run", sa.String(100)),
        sa.UniqueConstraint("usecase", "key"),
        indexed=("usecase", "version"),
    )
    table(
        "validated_partitions",
        key("usecase", sa.String(64)),
        key("table", sa.String(64)),
        key("day", sa.String(10)),
        required("raw_sha256", sa.String(64)),
        required("sha256", sa.String(64)),
    )
    table(
        "built_features",
        key("usecase", sa.String(64)),
        key("day", sa.String(10)),
        required("sha256", sa.String(64)),
    )
    table(
        "quarantine_releases",
        counted("number", sa.Integer),
        required("usecase", sa.String(64)),
        required("table", sa.String(128)),
        required("partition", sa.String(16)),
        required("digest", sa.String(64)),
        required("reason", sa.String(128)),
        required("actor", sa.String(64)),
        required("why", sa.Text),
        required("at", sa.BigInteger),
        sa.UniqueConstraint("usecase", "table", "partition", "digest", "reason"),
    )


def judgements() -> None:
    table(
        "decisions",
        key("id", sa.String(16)),
        required("usecase", sa.String(64)),
        required("kind", sa.String(32)),
        required("as_of", sa.String(32)),
        required("verdict", sa.String(16)),
        required("reasons", sa.JSON),
        required("evidence", sa.JSON),
        indexed=("usecase",),
    )
    table(
        "promotion_ledger",
        counted("number", sa.Integer),
        required("usecase", sa.String(64)),
        required("key", sa.String(255)),
        required("at", sa.BigInteger),
        required("actor", sa.String(64)),
        required("action", sa.String(32)),
        required("version", sa.String(16)),
        sa.Column("previous", sa.String(16)),
        required("share", sa.Float),
        required("reason", sa.Text),
        required("evidence", sa.JSON),
        sa.UniqueConstraint("usecase", "key"),
        indexed=("usecase",),
    )
    table(
        "alias_changes",
        key("usecase", sa.String(64)),
        key("alias", sa.String(64)),
        key("change", sa.Integer),
        required("version", sa.String(16)),
        required("actor", sa.String(64)),
        required("told", sa.Boolean),
        sa.Column("rollout", sa.String(128)),
    )


def traffic() -> None:
    table(
        "routing_plans",
        key("usecase", sa.String(64)),
        key("version", sa.Integer),
        required("rollout", sa.String(128)),
        required("stage", sa.String(32)),
        required("champion", sa.String(16)),
        required("champion_uri", sa.Text),
        required("champion_sha256", sa.String(64)),
        sa.Column("challenger", sa.String(16)),
        sa.Column("challenger_uri", sa.Text),
        sa.Column("challenger_sha256", sa.String(64)),
        required("share", sa.Float),
        required("since", sa.BigInteger),
    )
    table(
        "predictions",
        key("usecase", sa.String(64)),
        key("prediction_id", sa.String(128)),
        required("entity", sa.String(128)),
        required("block", sa.Date),
        required("predicted_at", sa.BigInteger),
        required("request", sa.JSON),
        required("features", sa.JSON),
        required("ages", sa.JSON),
        required("plan", sa.Integer),
        required("share", sa.Float),
        required("served", sa.String(16)),
        sa.Column("score", sa.Float),
        required("scores", sa.JSON),
        required("milliseconds", sa.JSON),
        required("errors", sa.JSON),
        required("failed", sa.Boolean),
        indexed=("predicted_at",),
    )
    columns = ["usecase", "plan", "predicted_at", "block", "failed"]
    op.create_index("ix_predictions_progress", "predictions", columns, if_not_exists=True)
    table(
        "outcomes",
        key("usecase", sa.String(64)),
        key("prediction_id", sa.String(128)),
        required("label", sa.Float),
        required("known_at", sa.BigInteger),
    )
    table("clocks", key("usecase", sa.String(64)), required("now", sa.BigInteger))
