"""Databases of every revision, and of the version before revisions, are migrated to the newest with all rows."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from pipelines.artifacts.model import ModelRef
from pipelines.engines import open_engine
from pipelines.errors import InvalidInput
from pipelines.instants import midnight
from pipelines.records import Action, Baseline, Ending, Plan, Records, Rollout
from pipelines.records.database import APPEND_ONLY, METADATA
from pipelines.records.migrations import FOLDER, HEAD, VERSION, append_only, locked, revision_of, upgrade
from tests.services import thorough

DUMP = Path(__file__).parent / "records_before_revisions.sql"  # written by the version before revisions
START = datetime(2024, 4, 1, tzinfo=UTC)
LEDGER = "promotion_ledger"


@pytest.fixture
def before(records_uri: str) -> str:
    """A database of the version before revisions, with data."""
    with sqlite3.connect(":memory:") as memory:
        memory.executescript(DUMP.read_text())
        if records_uri.startswith("sqlite"):
            with sqlite3.connect(records_uri.removeprefix("sqlite:///")) as file:
                memory.backup(file)
            return records_uri
        with engine_of(records_uri) as engine, locked(engine) as connection:
            upgrade(
                connection, "0001"
            )  # it creates the same tables as that version, as `test_the_first_revision...` checks
            connection.exec_driver_sql(f"drop table {VERSION.name}")
            tables = sa.MetaData()
            tables.reflect(connection)
            for table in tables.sorted_tables:
                names = [column.name for column in table.c if column.name != "number"]  # the database counts itself
                selected = ", ".join(f'"{name}"' for name in names)
                for row in memory.execute(f"select {selected} from {table.name} order by rowid"):
                    places = ", ".join(
                        f"cast(:v{n} as {table.c[name].type.compile(connection.dialect)})"
                        for n, name in enumerate(names)
                    )
                    values = {f"v{n}": value if value is None else str(value) for n, value in enumerate(row)}
                    connection.execute(sa.text(f"insert into {table.name} ({selected}) values ({places})"), values)
    return records_uri


@contextmanager
def engine_of(uri: str) -> Iterator[sa.Engine]:
    engine = open_engine(uri, "TEST", "the test's database")
    try:
        yield engine
    finally:
        engine.dispose()


def differences(connection: sa.Connection, tables: sa.MetaData = METADATA) -> list[object]:
    """The differences that a migration would have to remove."""
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), tables))


def schema(connection: sa.Connection) -> set[tuple[str, str, str]]:
    """(table, column, type) of all columns, and the triggers of the ledger."""
    inspector = sa.inspect(connection)
    columns = {
        (table, column["name"], str(column["type"]))
        for table in inspector.get_table_names()
        for column in inspector.get_columns(table)
    }
    return columns | {(LEDGER, name, "trigger") for name in append_only.names(connection, LEDGER)}


def test_a_model_change_without_a_migration_is_refused(records_uri: str) -> None:
    with Records(records_uri).engine.connect() as connection:
        assert differences(connection) == [], "write a migration: see pipelines/records/migrations"
        changed = sa.MetaData()
        for table in METADATA.sorted_tables:
            table.to_metadata(changed)
        changed.tables["decisions"].append_column(sa.Column("extra", sa.Integer))
        changed.tables["outcomes"].c.label.type = sa.Integer()
        assert len(differences(connection, changed)) == 2
        for table in METADATA.sorted_tables:
            wanted = append_only.triggers(connection.dialect.name, table.name) if table.info.get(APPEND_ONLY) else ()
            assert set(append_only.names(connection, table.name)) == set(wanted), table.name


def test_revisions_form_a_chain_and_the_code_knows_the_last() -> None:
    revisions = [one.revision for one in ScriptDirectory(str(FOLDER)).walk_revisions()]
    assert revisions[0] == HEAD and revisions == [f"{n:04}" for n in range(len(revisions), 0, -1)]


def test_the_first_revision_makes_what_the_version_before_made(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "before.db") as file:
        file.executescript(DUMP.read_text())
    with engine_of(f"sqlite:///{tmp_path / 'first.db'}") as first, locked(first) as connection:
        upgrade(connection, "0001")
        connection.exec_driver_sql(f"drop table {VERSION.name}")
    seen = []
    for name in ("before", "first"):
        with sqlite3.connect(tmp_path / f"{name}.db") as file:
            rows = file.execute("select type, name, sql from sqlite_master where name not like 'sqlite_%'")
            seen.append({row[:2]: " ".join((row[2] or "").replace("IF NOT EXISTS ", "").split()) for row in rows})
    assert seen[0] == seen[1]


def test_a_database_of_the_version_before_keeps_all_it_has(before: str) -> None:
    records = Records(before)
    lines = [(entry.title, entry.version, entry.actor) for entry in records.ledger("pumps").entries(aliases=True)]
    assert lines == [
        ("register", "1", "training"),
        ("alias challenger", "1", "training"),
        ("alias champion", "1", "training"),
        ("start", "1", "deployment"),
        ("promote", "1", "deployment"),
        ("alias challenger", "", "deployment"),
        ("alias challenger", "2", "out-of-band"),
        ("start", "2", "ada"),
        ("advance", "2", "deployment"),
        ("rollback", "2", "deployment"),
        ("alias a name of more than twenty-six letters", "1", "out-of-band"),
        ("alias challenger", "3", "training"),
        ("start", "3", "deployment"),
        ("advance", "3", "deployment"),
        ("verify", "1", "ada"),
    ]
    assert len(records.ledger("pumps").entries()) == 9
    log = records.predictions("pumps")
    rows = log.get(["p1", "p2"])
    assert [(one.served, one.score, one.errors) for one in rows] == [("3", 0.25, {}), ("1", 0.5, {"3": "no output"})]
    assert log.observations([4], START + timedelta(days=2))[0].label == 1.0
    assert {(one.block, one.closes_at) for one in rows} == {("2024-04-01", START + timedelta(hours=36))}
    assert [plan.version for plan in records.plans("pumps").of("under way")] == [4]
    assert records.aliases("pumps").last("challenger") == (4, "3")
    assert records.partitions("pumps").watermark("readings") == START
    (validated,) = records.derivations("pumps").validated("readings").values()
    assert validated == ("a" * 64, "b" * 64, None)
    assert records.derivations("pumps").built() == {date(2024, 3, 31): {"": "c" * 64}}
    assert [one.version for one in records.snapshots("pumps").taken()] == ["d1.dir"]
    assert [one.why for one in records.releases("pumps").all()] == ["known"]
    assert records.simulated_time("pumps").read() == START + timedelta(hours=5)
    assert len(records.decisions("pumps").newest_on("by:start:hand")) == 1


def test_rollouts_of_the_version_before_are_known_and_one_under_way_goes_on(before: str) -> None:
    records = Records(before)
    rollouts = records.rollouts("pumps")
    first, second, third = rollouts.all()
    assert (first.name, first.direct, first.change) == ("first", True, 1)
    assert first.baseline == Baseline("models/1", "a" * 64, "evaluations/1")
    assert first.ending == Ending(Action.PROMOTE, START + timedelta(hours=1), "deployment", "the first model")
    decision = records.decisions("pumps").all()[0]["id"]
    ended = Ending(Action.ROLLBACK, START + timedelta(hours=3), "deployment", "worse", decision)
    assert (second.name, second.champion, second.ending) == ("by:start:hand", "1", ended)
    frozen = ("models/1", "a" * 64, 0.125, "production", None)
    assert third.baseline == Baseline("models/3", "c" * 64, "evaluations/3", *frozen)
    assert third == rollouts.under_way() == rollouts.require("under way")

    at = START + timedelta(hours=9)
    assert rollouts.begin(third, "deployment"), "a retry goes on"
    assert not rollouts.begin(Rollout("late", "3", "1", 4, at, third.baseline), "deployment")
    assert records.plans("pumps").replace(Plan.alone(5, "under way", "3", ModelRef("models/3", "c" * 64), at))
    assert rollouts.end(third, Ending(Action.PROMOTE, at, "deployment", "gates", "0" * 16), {"blocks": 20})
    assert not rollouts.end(third, Ending(Action.ABORT, at, "ada", "late"))
    assert rollouts.under_way() is None and records.ledger("pumps").entries()[-1].evidence == {"blocks": 20}
    assert [entry.key for entry in records.ledger("pumps").entries()].count("under way:start") == 1


def test_the_ledger_of_the_version_before_stays_append_only(before: str) -> None:
    engine = Records(before).engine
    truncation = [f"truncate {LEDGER}"] if engine.dialect.name == "postgresql" else []
    for statement in (f"update {LEDGER} set reason = 'x'", f"delete from {LEDGER}", *truncation):
        with pytest.raises(sa.exc.DatabaseError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


def value(column: sa.Column[Any], number: int) -> Any:
    """A value of a column's type, different for each number; None for every third in a nullable column."""
    if column.nullable and number % 3 == 0:
        return None
    match column.type:
        case sa.Boolean():
            return bool(number % 2)
        case sa.BigInteger():
            return 2**53 + number
        case sa.Integer():
            return number
        case sa.Float():
            return number / 4
        case sa.Date():
            return START.date() + timedelta(number)
        case sa.JSON():
            return {"row": number, "odd": [None, "ä"]}
        case sa.LargeBinary():
            return bytes([0, number])
        case sa.String(length=length):
            return f"{number} {column.name}"[:length]
    raise AssertionError(f"{column} is of {column.type!r}: say which values it may have")


def reflected(connection: sa.Connection) -> dict[str, sa.Table]:
    """The tables of a database by name, without the one of the revision."""
    tables = sa.MetaData()
    tables.reflect(connection)
    return {name: table for name, table in tables.tables.items() if name != VERSION.name}


def carried_over(row: dict[str, Any], columns: Collection[str]) -> dict[str, Any]:
    """A row as the newest revision has it: days name periods, and are text."""
    renamed = {name if name in columns else "period" if name == "day" else name: one for name, one in row.items()}
    return {name: one.isoformat() if isinstance(one, date) else one for name, one in renamed.items()}


@pytest.mark.parametrize("earlier", [f"{number:04}" for number in range(1, int(HEAD) + 1)])
def test_a_database_of_any_revision_comes_to_the_newest_with_every_row(records_uri: str, earlier: str) -> None:
    rows: dict[str, list[dict[str, Any]]] = {}
    with engine_of(records_uri) as engine, locked(engine) as connection:
        upgrade(connection, earlier)
        assert revision_of(connection) == earlier
        for name, table in reflected(connection).items():
            columns = [one for one in table.c if one.name != "number"]  # the database counts itself
            rows[name] = [{one.name: value(one, number) for one in columns} for number in range(1, 5)]
            connection.execute(table.insert(), rows[name])
    with Records(records_uri).engine.connect() as connection:
        assert revision_of(connection) == HEAD and differences(connection) == []
        tables = reflected(connection)
        assert len(rows) > 10 and rows.keys() <= tables.keys()
        for name, before in rows.items():
            wanted = [carried_over(row, tables[name].c.keys()) for row in before]
            query = sa.select(*(tables[name].c[column] for column in wanted[0]))
            kept = [dict(row) for row in connection.execute(query).mappings()]
            assert sorted(kept, key=repr) == sorted(wanted, key=repr), name


@pytest.mark.parametrize("earlier", ["0001", "0002"])
def test_the_log_of_an_earlier_revision_keeps_its_rows_and_no_block_closes_too_early(before: str, earlier: str) -> None:
    with engine_of(before) as engine, locked(engine) as connection:
        upgrade(connection, earlier)
        rows = connection.execute(sa.text("select prediction_id, block, features from predictions")).all()
    log = Records(before).predictions("pumps")
    kept = log.all()
    assert [one.prediction_id for one in kept] == sorted(row[0] for row in rows)
    assert [one.features for one in kept] == [{"heat": 1.5, "age": None}] * len(rows)
    for one in kept:
        day = date.fromisoformat(one.block) + timedelta(days=1)
        ends = [midnight(day, zone) for zone in available_timezones()]
        assert max(ends) == one.closes_at, "the latest instant at which the day ends in any time zone"
    assert log.progress([4], START + timedelta(days=9), START + timedelta(hours=36)).blocks == 1
    with log.engine.connect() as connection:
        (index,) = (one for one in sa.inspect(connection).get_indexes("predictions") if "progress" in str(one["name"]))
    assert set(index["column_names"]) >= {"plan", "predicted_at", "closes_at", "block", "failed"}, (
        "the index covers `progress`"
    )


def test_a_rollout_that_had_kept_its_champion_is_inconclusive(before: str) -> None:
    with engine_of(before) as engine, locked(engine) as connection:
        upgrade(connection, "0006")
        connection.execute(sa.text("update rollouts set ending = 'keep' where name = 'by:start:hand'"))
        append_only.unprotect(connection, LEDGER)
        connection.execute(sa.text(f"update {LEDGER} set action = 'keep' where key = 'by:start:hand:end'"))
        append_only.protect(connection, LEDGER)
    records = Records(before)
    ended = records.rollouts("pumps").require("by:start:hand")
    assert ended.ending is not None and ended.ending.action is Action.INCONCLUSIVE and ended.baseline.foretold is None
    entry = next(one for one in records.ledger("pumps").entries() if one.key == "by:start:hand:end")
    assert entry.action is Action.INCONCLUSIVE
    with pytest.raises(sa.exc.DatabaseError, match="append-only"), records.engine.begin() as connection:
        connection.exec_driver_sql(f"update {LEDGER} set reason = 'x'")


def test_several_processes_can_open_a_database_of_the_version_before_at_once(before: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        every = list(pool.map(lambda _: len(Records(before).rollouts("pumps").all()), range(4)))
    assert every == [3] * 4


def killed_on_the_way(uri: str, module: str, function: str) -> None:
    setattr(import_module(module), function, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    Records(uri)


@thorough
@pytest.mark.parametrize(
    ("earlier", "module", "function"),
    [(None, "pipelines.records.migrations.append_only", "unprotect"), ("0002", "alembic.op", "create_index")],
    ids=["0002", "0003"],
)
def test_a_kill_in_the_middle_leaves_the_database_as_it_was(
    before: str, earlier: str | None, module: str, function: str
) -> None:
    with engine_of(before) as engine:
        if earlier:
            with locked(engine) as connection:
                upgrade(connection, earlier)
        with engine.connect() as connection:
            was, predictions = schema(connection), connection.scalar(sa.text("select count(*) from predictions"))
            titles = set(connection.scalars(sa.text(f"select action from {LEDGER}")))
    process = multiprocessing.get_context("spawn").Process(target=killed_on_the_way, args=(before, module, function))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with engine_of(before) as engine, engine.connect() as connection:
        assert schema(connection) == was and revision_of(connection) == earlier
        assert set(connection.scalars(sa.text(f"select action from {LEDGER}"))) == titles
    records = Records(before)
    assert len(records.rollouts("pumps").all()) == 3 and len(records.predictions("pumps").all()) == predictions


def test_a_database_of_a_newer_version_is_refused(records_uri: str) -> None:
    with Records(records_uri).engine.begin() as connection:
        connection.execute(sa.update(VERSION).values(version_num="9999"))
    with pytest.raises(InvalidInput, match=r"is at revision 9999 and this version of Flightdeck knows .* newer"):
        Records(records_uri)


def test_a_database_from_before_the_first_release_is_refused_and_left_alone(before: str) -> None:
    with engine_of(before) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("alter table routing_plans drop column challenger_sha256")
        with pytest.raises(InvalidInput, match=r"before 0\.1\.0 .*no column challenger_sha256.* move it away"):
            Records(before)
        with engine.connect() as connection:
            assert revision_of(connection) is None


def test_only_sqlite_and_postgresql_are_accepted() -> None:
    with pytest.raises(InvalidInput, match="FLIGHTDECK_RECORDS_URI"):
        Records("mysql://somebody@localhost/records")
