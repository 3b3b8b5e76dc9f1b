"""The replayer against a model server, each a process of its own: its results, also where either is killed."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from pipelines.clock import ReplayClock
from pipelines.context import Context, build_context
from pipelines.online import OnlineFeatures, read_online
from pipelines.records.predictions import OUTCOMES, PREDICTIONS
from pipelines.replay import driver
from pipelines.replay.__main__ import main
from pipelines.replay.world import read_world
from pipelines.sources import read_window
from pipelines.windows import Window
from tests.commands import Command, fork
from tests.conftest import ROOT, TOY
from tests.homes import copy_home
from tests.services import thorough
from tests.serving.conftest import END, ModelHome, half_each
from tests.serving.test_process import server, started

EVERY = timedelta(minutes=15)
WINDOW = Window(END, END + timedelta(days=4), "Europe/Berlin")  # the days after those with stored features
LAST_DAY = WINDOW.end_at - timedelta(days=1)

State = tuple[datetime, int]  # the clock, and how many predictions and outcomes are logged


@dataclass(frozen=True)
class Remains:
    """The rows that a replay leaves, without the time that scoring took."""

    predictions: dict[str, dict[str, Any]]
    outcomes: dict[str, tuple[float, datetime]]
    online: list[OnlineFeatures]


@dataclass(frozen=True)
class Whole:
    """A replay that nothing interrupted, with its server still up."""

    context: Context
    url: str
    summary: dict[str, Any]
    remains: Remains


def staged(model_home: ModelHome, folder: Path) -> Context:
    """A private home with its own records and online store, a plan in force and a clock before the window."""
    context = build_context(TOY, copy_home(model_home.home, folder / "home"))
    ReplayClock(context.records.simulated_time("pumps")).start(model_home.at)
    assert context.plans.replace(half_each(model_home))
    return context


def arguments(context: Context, url: str) -> list[str]:
    days = ["--start", str(WINDOW.start), "--end", str(WINDOW.end)]
    return ["--params", str(TOY), "--home", str(context.settings.home), *days, "--server", url]


def play(argv: list[str]) -> int:
    driver.PATIENCE = 300  # a server starts slowly on a busy machine
    return main(argv)


@contextmanager
def player(context: Context, url: str) -> Iterator[Command]:
    """A running replayer."""
    process = fork(partial(play, arguments(context, url)))
    try:
        yield process
    finally:
        process.kill()


def wait_for(moment: State, context: Context, process: Command) -> None:
    while state(context) < moment:
        assert not process.ended(), f"the replay has ended: {process.wait()}"
        time.sleep(0.0005)


def state(context: Context) -> State:
    with context.records.engine.connect() as connection:
        counts = [connection.scalar(sa.select(sa.func.count()).select_from(t)) or 0 for t in (PREDICTIONS, OUTCOMES)]
    return context.clock.now(), sum(counts)


def remains(context: Context) -> Remains:
    columns = [column for column in PREDICTIONS.c if column.name != "milliseconds"]
    with context.records.engine.connect() as connection:
        predictions = [dict(row) for row in connection.execute(sa.select(*columns)).mappings()]
        outcomes = connection.execute(sa.select(OUTCOMES.c.prediction_id, OUTCOMES.c.label, OUTCOMES.c.known_at)).all()
    pumps = [{"pump": pump} for pump in sorted({str(row["entity"]) for row in predictions})]
    return Remains(
        {row["prediction_id"]: row for row in predictions},
        {identity: (label, known_at) for identity, label, known_at in outcomes},
        read_online(context.feast, ["pump_heat:heat_3d", "pump_maker:age"], pumps, WINDOW.end_at),
    )


@pytest.fixture(scope="module")
def whole(model_home: ModelHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    context = staged(model_home, tmp_path_factory.mktemp("whole"))
    with server(context.settings.home) as (_, url):
        command = [sys.executable, "-m", "pipelines.replay", *arguments(context, url)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        yield Whole(context, url, json.loads(done.stdout), remains(context))


def source(context: Context) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The source up to the window's end: examples by id, and the feature that changes."""
    usecase = context.usecase
    days = Window(usecase.start, WINDOW.end, usecase.timezone)
    tables = {table.name: read_window(context.params, usecase, table, days) for table in usecase.tables}
    heat = next(table for table in usecase.feature_tables if table.name == "pump_heat")
    examples = usecase.examples(tables, days).to_pandas().set_index("example_id")
    return examples, usecase.build(heat, tables, days).to_pandas()


def test_a_replay_asks_for_every_example_of_its_days_once_and_in_time(whole: Whole) -> None:
    examples, _ = source(whole.context)
    due = examples.predicted_at[examples.predicted_at.between(WINDOW.start_at, WINDOW.end_at, inclusive="left")]
    logged = {identity: row["predicted_at"] for identity, row in whole.remains.predictions.items()}
    assert set(logged) == set(due.index) and len(due) == 4 * 60 == whole.summary["requests"]
    assert all(timedelta(0) <= due[identity] - at < EVERY for identity, at in logged.items())


def test_a_replay_sends_every_outcome_known_by_its_end_and_none_early(whole: Whole) -> None:
    examples, _ = source(whole.context)
    known = examples[(examples.predicted_at >= WINDOW.start_at) & (examples.label_known_at < WINDOW.end_at)]
    replayed = whole.remains.outcomes
    assert {identity: label for identity, (label, _) in replayed.items()} == dict(known.label)
    assert len(replayed) == 3 * 60 == whole.summary["outcomes"] and set(known.label) == {0.0, 1.0}
    assert all(timedelta(0) <= at - known.label_known_at[identity] < EVERY for identity, (_, at) in replayed.items())


def test_after_a_replay_the_online_store_holds_what_is_known(whole: Whole) -> None:
    _, heat = source(whole.context)
    last = heat[heat.known_at < WINDOW.end_at].sort_values("known_at").groupby("pump").last()
    assert whole.summary["pushed"] == (heat.known_at >= WINDOW.start_at).sum() == 4 * 60
    for row_online, (pump, row) in zip(whole.remains.online, last.sort_index().iterrows(), strict=True):
        assert row_online.values["heat_3d"] == pytest.approx(row.heat_3d), pump
        assert row_online.ages["heat_3d"] == WINDOW.end_at - row.known_at


def test_outcomes_that_become_known_after_the_last_requests_are_sent_as_well(model_home: ModelHome) -> None:
    world = read_world(build_context(TOY, model_home.home), WINDOW)
    ticks = list(world.ticks(timedelta(days=1)))
    examples = world.examples
    outcomes = [identity for tick in ticks for identity, _ in tick.outcomes]
    assert sorted(outcomes) == sorted(examples.example_id[examples.label_known_at < WINDOW.end_at])
    assert sum(len(tick.features.get("pump_heat", [])) for tick in ticks) == len(world.features["pump_heat"]) == 4 * 60
    requests = examples[examples.predicted_at >= WINDOW.start_at]
    assert sum(len(tick.requests) for tick in ticks) == len(requests) and ticks[-1].at < WINDOW.end_at


def moments(context: Context, draw: random.Random) -> list[State]:
    """Moments for kills: at the start of a tick with events, or once some are logged; none on the last day."""
    kills, logged = [], 0
    for tick in takewhile(lambda tick: tick.at < LAST_DAY, read_world(context, WINDOW).ticks(EVERY)):
        if tick.features or tick.outcomes or tick.requests:
            kills.append((tick.at, 0))
        for facts in (tick.outcomes, tick.requests):
            if facts:
                kills.append((tick.at, logged + draw.randint(1, len(facts))))
                logged += len(facts)
    return sorted(draw.sample(kills, 8))


@thorough
def test_a_replay_killed_repeatedly_leaves_the_same_as_an_uninterrupted_one(
    model_home: ModelHome, whole: Whole, tmp_path: Path
) -> None:
    context, draw, kills = staged(model_home, tmp_path), random.Random(2013), 0
    with server(context.settings.home) as (_, url):
        for moment in moments(context, draw):
            if state(context) >= moment:
                continue  # the kill before came late
            with player(context, url) as process:
                wait_for(moment, context, process)
                time.sleep(draw.uniform(0, 0.01))
                assert process.kill() == -signal.SIGKILL and context.clock.now() < WINDOW.end_at
                kills += 1
        with player(context, url) as process:
            assert process.wait().returncode == 0
    assert kills >= 2
    assert remains(context) == whole.remains and context.clock.now() == WINDOW.end_at


@thorough
def test_a_replay_continues_with_a_restarted_server(model_home: ModelHome, whole: Whole, tmp_path: Path) -> None:
    context = staged(model_home, tmp_path)
    with server(context.settings.home) as (killed, url), player(context, url) as process:
        wait_for((WINDOW.start_at + timedelta(days=1, hours=6), 0), context, process)
        assert killed.kill() == -signal.SIGKILL
        assert context.clock.now() < WINDOW.end_at
        again = started(context.settings.home, url.rpartition(":")[2])
        try:
            assert process.wait().returncode == 0
        finally:
            again.kill()
    assert remains(context) == whole.remains


def test_a_replay_ends_with_the_remedy_where_the_server_stays_down(
    model_home: ModelHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "PATIENCE", 0.3)
    context = staged(model_home, tmp_path)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(arguments(context, url)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"flightdeck: {url}/v1/") and ": no answer" in line and "start the model server" in line
    assert state(context) == (datetime(2024, 4, 20, 4, 45, tzinfo=UTC), 0), (
        "a repeated replay continues with unanswered requests"
    )


@thorough
def test_a_finished_window_is_refused_and_leaves_the_same_when_replayed_on_demand(
    whole: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(whole.context, whole.url)
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flightdeck: the replay's clock stands at 2024-04-23 22:00") and "--anew" in line
    assert main([*argv, "--anew"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["requests"], counts["outcomes"]) == (4 * 60, 0), "outcomes that were recorded before do not count"
    assert remains(whole.context) == whole.remains
