"""A registry that is down, slow or out of disk fails the step with one line, and a rerun completes it."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.__main__ import main
from pipelines.console import models
from pipelines.context import Context
from pipelines.errors import CheckFailed, Unavailable
from pipelines.records import Action
from pipelines.registration.version_cards import read_card
from pipelines.steps import execute
from tests.conftest import TOY
from tests.postgres_fixtures import on_both
from tests.services import thorough
from tests.steps.registration.versions import FAMILY, ledger, register, register_inputs
from tests.synthetic import context_over

pytestmark = on_both
DISK_OF_NO_ROOM = Path("/dev/full")  # of Linux: every write to it fails with "no space left"


def refusing() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def hold() -> None:
            try:
                while True:
                    held.append(server.accept()[0])
            except OSError:
                return

        keeper = threading.Thread(target=hold, daemon=True)
        keeper.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for connection in held:
            connection.close()


@pytest.fixture(params=["refuses", "hangs"])
def away(request: pytest.FixtureRequest, hanging: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a registry that refuses connections, or accepts them and never answers."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return refusing() if request.param == "refuses" else hanging


def require_whole(context: Context) -> None:
    """Check that a version with an alias has its card and its line in the ledger."""
    entered = {entry.version for entry in ledger(context) if entry.action == "register"}
    for version in context.models.versions():
        assert not version.aliases or (version.version in entered and read_card(version, context) is not None)


def require_finished(context: Context, given: dict[str, Any]) -> None:
    """Check that registering again, however often, leaves one version and every line of the ledger once."""
    for _ in range(2):
        outputs = execute("register", given, context)
        assert (outputs["version"], outputs["aliases"]) == ("1", ["challenger", "champion"])
    (version,) = context.models.versions()
    card = read_card(version, context)
    assert card is not None and card.version == "1"
    assert [entry.title for entry in ledger(context)] == ["register", "alias challenger", "alias champion"]


def test_logging_and_resolving_fail_where_the_registry_does_not_answer(desk: Context, away: str) -> None:
    beyond = context_over(desk.settings.home, mlflow_uri=away)
    with pytest.raises(Unavailable, match=r"MLflow at http://127\.0\.0\.1:\d+ cannot be used"):
        register(beyond)
    with pytest.raises(Unavailable):
        execute("resolve_model", {}, beyond)
    assert ledger(desk) == []
    require_finished(desk, register_inputs(desk))


def test_a_registry_lost_before_registration_fails_it_with_one_line(
    desk: Context, away: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = register_inputs(desk)
    monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", away)
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", desk.settings.records)
    flags = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", json_or_text(value))]
    capsys.readouterr()
    code = main(["register", "--params", str(TOY), "--home", str(desk.settings.home), *flags])
    output = capsys.readouterr()
    assert code == Unavailable.exit_code and output.out == "" and len(output.err.splitlines()) == 1, output.err
    assert output.err.startswith(f"flightdeck: MLflow at {away} cannot be used (")
    assert output.err.endswith("then run the step again: it continues where it stopped\n")
    assert ledger(desk) == [] and desk.models.versions() == []
    require_finished(desk, given)


def json_or_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---- a full disk


@contextmanager
def room(database: Path, pages: int) -> Iterator[None]:
    """Limit a SQLite database, on MLflow's own connections, to a number of pages."""

    def limit(connection: Any, *_: Any) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return  # of the records on PostgreSQL
        if connection.execute("pragma database_list").fetchone()[2] == str(database.resolve()):
            connection.execute(f"pragma max_page_count = {pages}")

    sa.event.listen(sa.pool.Pool, "checkout", limit)
    try:
        yield
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", limit)


def query(database: Path, *statements: str) -> int:
    with sqlite3.connect(database) as connection:
        for statement in statements:
            row = connection.execute(statement).fetchone()
    connection.close()
    return int(row[0])


@thorough
def test_registration_resumes_once_a_full_database_has_room(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    database = Path(desk.settings.mlflow.removeprefix("sqlite:///"))
    query(database, "pragma page_size = 512", "vacuum", "pragma page_size")  # small pages: every write needs new ones
    given = register_inputs(desk)
    begun, seen = query(database, "pragma page_count"), []
    for spare in range(100):  # the step is repeated on a disk that grows by one page until it succeeds
        try:
            with room(database, begun + spare):
                execute("register", given, desk)
            break
        except Unavailable as error:
            assert "database or disk is full" in str(error) and "\n" not in str(error) and "SQL" not in str(error)
            seen.append(len(desk.models.versions()))
            require_whole(desk)
    assert seen[0] == 0 and seen[-1] == 1, "the disk was full before the version, and before its aliases"
    assert "Traceback" not in capsys.readouterr().err
    with room(database, 1_000_000):
        require_finished(desk, given)


@pytest.mark.skipif(not DISK_OF_NO_ROOM.exists(), reason="this system has no /dev/full")
def test_a_disk_without_room_for_the_card_leaves_a_version_that_no_alias_names(desk: Context) -> None:
    given = register_inputs(desk)
    files = Path(desk.tracker.client.get_run(given["runs"][FAMILY]).info.artifact_uri.removeprefix("file://"))
    page = files / "model_card" / "model_card.html"
    page.parent.mkdir()
    page.symlink_to(DISK_OF_NO_ROOM)
    with pytest.raises(Unavailable, match="No space left on device") as error:
        execute("register", given, desk)
    assert "\n" not in str(error.value)
    assert [version.aliases for version in desk.models.versions()] == [()] and ledger(desk) == []
    page.unlink()
    require_finished(desk, given)


def test_a_disk_too_full_for_artifacts_fails_the_step_and_the_next_run_completes_it(desk: Context) -> None:
    register(desk)  # the experiment exists
    place = Path(desk.tracker.artifacts)
    shutil.move(place, place.with_name("kept"))
    place.write_text("no folder")
    with pytest.raises(Unavailable, match="disk"):
        register(desk, "r2")
    assert len(desk.models.versions()) == 1
    place.unlink()
    shutil.move(place.with_name("kept"), place)
    assert register(desk, "r2")["version"] == "2"
    assert [run["tags"]["mlflow.runName"] for run in desk.tracker.runs("candidate")] and len(ledger(desk)) == 5


def test_a_missing_card_is_written_by_the_next_run(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "pipelines.registration.version_cards.page", lambda *_: (_ for _ in ()).throw(CheckFailed("killed"))
        )
        with pytest.raises(CheckFailed):
            register(desk)
    assert register(desk)["version"] == "1" and [e.action for e in ledger(desk)].count(Action.REGISTER) == 1
    assert models.answer({"verb": "show", "version": "1", "card": True, "html": None}, desk)[0]["version"] == "1"
