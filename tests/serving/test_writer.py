"""The watermark of a process is never too high, in whatever order its work ends."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from pipelines.clock import WallClock
from pipelines.context import Context, build_context
from pipelines.records import Records
from pipelines.serving.writer import LogWriter, WriterPlace
from tests.commands import fork
from tests.conftest import TOY
from tests.services import thorough
from tests.serving.conftest import App, reading

START = datetime(2024, 4, 1, tzinfo=UTC)


@dataclass
class Restless:
    """A clock that advances with every reading, and sometimes steps back."""

    random: random.Random
    at: datetime = START
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> datetime:
        with self.lock:
            self.at += timedelta(
                milliseconds=self.random.choice((5, 1, 3, -20) if self.random.random() < 0.2 else (1,))
            )
            return self.at


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("FLIGHTDECK_RECORDS_URI", f"sqlite:///{tmp_path / 'records.db'}")
    return build_context(TOY, tmp_path / "home")


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_logged_behind_a_watermark_and_watermarks_catch_up(context: Context, seed: int) -> None:
    writer = LogWriter(context.replaced(clock=Restless(random.Random(seed))), every=0.001)
    log: list[datetime] = []
    looks: list[tuple[datetime, int]] = []
    writing = True

    def write(draw: random.Random) -> None:
        until, own = time.monotonic() + 60, 0
        while own < 60 or (len({watermark for watermark, _ in [*looks]}) < 6 and time.monotonic() < until):
            with writer.writing() as at:
                time.sleep(draw.random() / 300)
                log.append(at)
            own += 1

    def read() -> None:
        while writing:
            (one,) = context.writers.active()
            looks.append((one.watermark, len(log)))

    writer.begin()
    reader = threading.Thread(target=read)
    threads = [threading.Thread(target=write, args=(random.Random(seed * 10 + n),)) for n in range(4)]
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    writing = False
    reader.join()
    assert len(log) >= 240 and len({watermark for watermark, _ in looks}) > 5
    marks = [watermark for watermark, _ in looks]
    assert marks == sorted(marks)
    for watermark, rows in looks:
        assert all(at >= watermark for at in log[rows:])
    writer.end()
    assert context.writers.active() == []


def test_a_call_under_way_holds_the_watermark_at_its_instant(context: Context) -> None:
    clock = Restless(random.Random(1))
    writer = LogWriter(context.replaced(clock=clock), every=0.001)
    writer.begin()
    with writer.writing() as at:
        clock.at += timedelta(days=1)
        time.sleep(0.1)
        assert watermark(context) <= at
        with writer.writing() as later:
            assert later - at >= timedelta(hours=23)
        time.sleep(0.1)
        assert watermark(context) <= at
    wait_for(lambda: watermark(context) > at + timedelta(hours=23))
    writer.end()


def watermark(context: Context) -> datetime:
    (one,) = context.writers.active()
    return one.watermark


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come true")


def test_processes_of_a_host_have_names_of_their_own_and_leave_them(tmp_path: Path) -> None:
    one, two, other = WriterPlace(f"{tmp_path} a"), WriterPlace(f"{tmp_path} a"), WriterPlace(f"{tmp_path} b")
    names = [one.take(), two.take(), other.take()]
    assert [name.rsplit("/", 1)[1] for name in names] == ["1", "2", "1"]
    one.leave()
    three = WriterPlace(f"{tmp_path} a")
    assert three.take() == names[0]
    for place in (two, three, other):
        place.leave()


def test_a_writer_starts_at_the_watermark_of_ended_writers_whatever_a_wrong_clock_said(
    context: Context,
) -> None:
    writers = context.writers
    writers.advance("gone/1", START + timedelta(minutes=5))
    writers.end("gone/1", START)
    writers.advance("wrong/1", START + timedelta(days=365))
    writer = LogWriter(context.replaced(clock=Restless(random.Random(1))))
    writer.begin()
    with writer.writing() as at:
        assert at == START + timedelta(minutes=5)
    writers.advance(writer.name, START)
    assert [one.watermark for one in writers.active() if one.name == writer.name] == [at], (
        "a watermark never moves back"
    )
    writer.end()


def writes(home: Path) -> int:
    context = build_context(TOY, home).replaced(clock=Restless(random.Random(3)))
    LogWriter(context, every=0.01).begin()
    time.sleep(60)
    return 1


@thorough
def test_the_next_process_continues_as_the_killed_writer(context: Context, tmp_path: Path) -> None:
    uri = context.settings.records
    process = fork(partial(writes, tmp_path / "home"), {"FLIGHTDECK_RECORDS_URI": uri})
    wait_for(lambda: len(context.writers.active()) == 1)
    process.kill()
    (dead,) = context.writers.active()
    assert Records(uri).writers("pumps").active() == [dead], "it holds the log at its watermark"
    clock = Restless(random.Random(1), at=dead.watermark + timedelta(days=1))
    writer = LogWriter(context.replaced(clock=clock))
    writer.begin()
    (alive,) = context.writers.active()
    assert alive.name == dead.name and alive.watermark > dead.watermark
    writer.end()


def test_a_server_in_a_replay_registers_no_writer(app: App) -> None:
    app.ask(reading())
    assert app.context.writers.active() == []


def test_an_ending_writer_waits_for_pending_writes_and_does_not_pass_those_that_outlast_the_wait(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.serving.writer.PATIENCE", 0.3)
    context = context.replaced(clock=WallClock())
    stuck = LogWriter(context, every=0.01)
    stuck.begin()
    with stuck.writing() as at:
        stuck.end()
        (one,) = context.writers.active()
        assert one.watermark <= at, "no look passes it before the next process takes over its name"
    monkeypatch.setattr("pipelines.serving.writer.PATIENCE", 30)
    slow, written = LogWriter(context, every=0.01), threading.Event()

    def write() -> None:
        with slow.writing():
            written.set()
            time.sleep(0.2)

    slow.begin()
    assert slow.name == stuck.name
    thread = threading.Thread(target=write)
    thread.start()
    written.wait()
    slow.end()
    thread.join()
    assert context.writers.active() == []
