"""Triggers by which the database itself refuses to change or delete rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa


def protect(connection: sa.Connection, table: str) -> None:
    """Make a table append-only; idempotent."""
    present = set(names(connection, table))
    for name, statements in triggers(connection.dialect.name, table).items():
        for statement in statements if name not in present else ():
            connection.exec_driver_sql(statement)


def unprotect(connection: sa.Connection, table: str) -> None:
    """Drop the triggers, for a revision that changes rows and then protects them again."""
    on = f" on {table}" if connection.dialect.name == "postgresql" else ""
    for name in triggers(connection.dialect.name, table):
        connection.exec_driver_sql(f"drop trigger {name}{on}")


def names(connection: sa.Connection, table: str) -> Iterator[str]:
    """The triggers that a table has."""
    query = "select name from sqlite_master where type = 'trigger' and tbl_name = :name"
    if connection.dialect.name == "postgresql":
        query = "select tgname from pg_trigger where tgrelid = cast(:name as regclass) and not tgisinternal"
    yield from connection.scalars(sa.text(query), {"name": table})


def triggers(dialect: str, table: str) -> Mapping[str, tuple[str, ...]]:
    """The statements that create each trigger, by its name."""
    refusal = f"{table} is append-only: write another entry instead"
    if dialect == "sqlite":
        return {
            f"{table}_no_{verb}": (
                f"create trigger {table}_no_{verb} before {verb} on {table} "
                f"begin select raise(abort, '{refusal}'); end",
            )
            for verb in ("update", "delete")
        }
    function = f"{table}_is_append_only"
    return {
        f"{table}_append_only": (
            f"create or replace function {function}() returns trigger language plpgsql as "
            f"$$ begin raise exception '{refusal}'; end $$",
            f"create trigger {table}_append_only before update or delete or truncate on {table} "
            f"for each statement execute function {function}()",
        )
    }
