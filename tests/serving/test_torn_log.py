"""A crash of the machine may tear SQLite's write-ahead log: all commits before the torn one are kept."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.clock import ReplayClock
from pipelines.context import build_context
from tests.conftest import TOY
from tests.predictions import labels, read_log
from tests.services import thorough
from tests.serving.conftest import App, ModelHome, half_each, reading
from tests.serving.test_process import client, server

pytestmark = thorough
HEADER, FRAME = 32, 24  # bytes in SQLite's log: the file's header, and the header of each page
KEPT, TORN = 40, 60  # predictions in the earlier commits, and in the last one


@dataclass(frozen=True)
class Commit:
    """The bytes of the last commit in a log."""

    start: int
    end: int
    page: int

    @property
    def middle(self) -> int:
        """An offset within a page in the middle of the commit."""
        frame = FRAME + self.page
        return self.start + (self.end - self.start) // frame // 2 * frame + FRAME + self.page // 2


def last_commit(log: bytes) -> Commit:
    """Find the last commit of a log, by the format in https://www.sqlite.org/fileformat2.html#walformat."""
    page, salts = int.from_bytes(log[8:12]), log[16:24]
    ends = [HEADER]
    at = HEADER
    while log[at + 8 : at + 16] == salts:  # frames left from before a reset have other salts
        is_last = log[at + 4 : at + 8] != bytes(4)  # the database's size, which stands in a commit's last frame
        at += FRAME + page
        ends += [at] if is_last else []
    return Commit(ends[-2], ends[-1], page)


Tear = Callable[[bytes, Commit], bytes]  # gives a log with a torn last commit


@dataclass(frozen=True)
class Remains:
    """The files left by a killed server, and its answers."""

    database: Path
    kept: list[dict[str, Any]]
    torn: list[dict[str, Any]]

    @property
    def log(self) -> Path:
        return self.database.with_name(f"{self.database.name}-wal")


def batch(name: str, size: int) -> list[dict[str, Any]]:
    return [reading(id=f"{name}-{n}", pump=f"{n}") for n in range(size)]


@pytest.fixture(scope="module")
def remains(model_home: ModelHome, tmp_path_factory: pytest.TempPathFactory) -> Remains:
    folder = tmp_path_factory.mktemp("torn")
    place = folder / "records.db"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FLIGHTDECK_RECORDS_URI", f"sqlite:///{place}")
        context = build_context(TOY, model_home.home)
        ReplayClock(context.records.simulated_time("pumps")).start(model_home.at)
        context.plans.replace(half_each(model_home))
        context.records.engine.dispose()
        with server(model_home.home) as (process, url), client(url) as http:

            def ask(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
                return list(http.post("/v1/predictions", json={"requests": requests}).json()["predictions"])

            kept = [*ask(batch("kept", KEPT)), *ask(batch("also", KEPT))]
            assert http.post("/v1/outcomes", json={"id": "kept-0", "label": 1}).status_code == 200
            reader = sqlite3.connect(place, isolation_level=None)  # commits after its snapshot stay in the log
            reader.execute("begin")
            reader.execute("select count(*) from predictions").fetchone()
            torn = ask(batch("torn", TORN))
            process.kill()
    copy = folder / "left.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{place}{suffix}", f"{copy}{suffix}")
    reader.close()
    return Remains(copy, kept, torn)


def cut(log: bytes, commit: Commit) -> bytes:
    return log[: commit.middle]


def cut_before_the_last_byte(log: bytes, commit: Commit) -> bytes:
    return log[: commit.end - 1]


def zeros(log: bytes, commit: Commit) -> bytes:
    """The file has its full length, but its end was never written to disk."""
    return log[: commit.middle] + bytes(len(log) - commit.middle)


def a_hole(log: bytes, commit: Commit) -> bytes:
    """The end was written to disk, but not all that is before it."""
    return log[: commit.middle] + bytes(16) + log[commit.middle + 16 :]


@pytest.fixture
def restarted(remains: Remains, serve: Callable[..., App], tmp_path: Path) -> Callable[[Tear | None], App]:
    """Starts a server over the files left, with the last commit torn in some way."""

    def start(tear: Tear | None) -> App:
        log = remains.log.read_bytes()
        shutil.copy(remains.database, tmp_path / "records.db")
        (tmp_path / "records.db-wal").write_bytes(tear(log, last_commit(log)) if tear else log)
        return serve()

    return start


def logged(app: App) -> list[str]:
    return sorted(row.prediction_id for row in read_log(app.log))


def answers_now(app: App, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers that the server gives now for the same ids."""
    return [app.http.get(f"/v1/predictions/{answer['id']}").json() for answer in answers]


def test_a_killed_server_leaves_every_answered_prediction(
    remains: Remains, restarted: Callable[[Tear | None], App]
) -> None:
    app = restarted(None)
    assert len(remains.kept) == 2 * KEPT and len(remains.torn) == TORN
    assert logged(app) == sorted(answer["id"] for answer in remains.kept + remains.torn)
    assert answers_now(app, remains.kept + remains.torn) == remains.kept + remains.torn


@pytest.mark.parametrize("tear", [cut, cut_before_the_last_byte, zeros, a_hole], ids=lambda tear: tear.__name__)
def test_a_torn_commit_is_lost_whole_and_earlier_commits_are_kept(
    remains: Remains, restarted: Callable[[Tear | None], App], tear: Tear
) -> None:
    app = restarted(tear)
    assert logged(app) == sorted(answer["id"] for answer in remains.kept), (
        "the torn batch is lost, all earlier ones are kept"
    )
    assert answers_now(app, remains.kept) == remains.kept
    assert {identity: label for identity, (label, _) in labels(app.log).items()} == {"kept-0": 1.0}
    first, again = (app.ask(*batch("torn", TORN)) for _ in range(2))
    assert first == again == remains.torn
    assert logged(app) == sorted(answer["id"] for answer in remains.kept + remains.torn)
    with app.context.records.engine.connect() as connection:
        assert connection.exec_driver_sql("pragma integrity_check").scalar() == "ok"
