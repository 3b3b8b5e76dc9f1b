"""Alembic runs this on the connection of `upgrade`, or, from its command line, on the records of the settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

import pipelines.records  # noqa: F401  # declares the tables
from pipelines.records.database import METADATA, VARIABLE


def run(connection: sa.Connection) -> None:
    # SQLite's schema changes are transactional too if a transaction is open, which `locked` ensures
    context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


if (connection := context.config.attributes.get("connection")) is not None:
    run(connection)
else:
    from pipelines.engines import open_engine
    from pipelines.settings import load_settings

    with open_engine(load_settings().records, VARIABLE, "the records database").begin() as own:
        run(own)
