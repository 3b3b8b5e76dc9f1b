"""A replay sends every event once, in order, and none before it was known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.clock import ReplayClock
from pipelines.context import Context, build_context
from pipelines.replay.__main__ import main
from pipelines.replay.world import read_world
from pipelines.usecase import EXAMPLE_ID, KNOWN_AT, LABEL_KNOWN_AT, PREDICTED_AT
from tests.conftest import TOY


@pytest.mark.parametrize("minutes", [15, 60, 7 * 60])
def test_every_event_is_sent_once_and_none_early(toy: Context, minutes: int) -> None:
    every = timedelta(minutes=minutes)
    world = read_world(toy, toy.window(date(2024, 3, 5), date(2024, 3, 9)))
    known = world.examples.set_index(EXAMPLE_ID)[LABEL_KNOWN_AT]
    requests, outcomes, pushed = [], [], 0
    for tick in world.ticks(every):
        for name, rows in tick.features.items():
            known_at = rows[KNOWN_AT].to_pandas()
            assert (known_at <= tick.at).all() and (known_at > tick.at - every).all(), name
            pushed += len(rows)
        assert all(tick.at - every < known[identity] <= tick.at for identity, _ in tick.outcomes)
        outcomes += [identity for identity, _ in tick.outcomes]
        requests += [request["id"] for request in tick.requests]
        assert all(set(request) == {"id", *toy.usecase.request_columns} for request in tick.requests)
    last = world.window.start_at + every * ((world.window.end_at - world.window.start_at) // every)
    ordered = world.examples.sort_values([PREDICTED_AT, EXAMPLE_ID])
    assert requests == list(ordered[EXAMPLE_ID][ordered[PREDICTED_AT] >= world.window.start_at])
    assert sorted(outcomes) == sorted(known[(known > world.window.start_at - every) & (known <= last)].index)
    assert set(outcomes) - set(requests), "outcomes of requests before the window that become known now are sent too"
    assert pushed == sum((rows[KNOWN_AT].to_pandas() <= last).sum() for rows in world.features.values())


def test_a_row_that_never_becomes_known_is_sent_in_no_tick(toy: Context) -> None:
    world = read_world(toy, toy.window(date(2024, 3, 5), date(2024, 3, 7)))
    name, rows = next((name, rows) for name, rows in world.features.items() if len(rows) > 1)
    known_at = pa.chunked_array([[None, *rows[KNOWN_AT].to_pylist()[1:]]], rows[KNOWN_AT].type)
    without = rows.set_column(rows.column_names.index(KNOWN_AT), KNOWN_AT, known_at)
    ticks = replace(world, features={name: without}).ticks(timedelta(hours=1))
    instants = [at for tick in ticks if name in tick.features for at in tick.features[name][KNOWN_AT].to_pylist()]
    assert sorted(instants) == sorted(known_at.to_pylist()[1:])


def test_a_replay_resumes_where_it_was_stopped(toy: Context) -> None:
    every = timedelta(hours=1)
    world = read_world(toy, toy.window(date(2024, 3, 5), date(2024, 3, 7)))
    whole = list(world.ticks(every))
    again = list(world.ticks(every, since=whole[20].at))
    assert [tick.at for tick in again] == [tick.at for tick in whole[20:]]
    assert [tick.requests for tick in again] == [tick.requests for tick in whole[20:]]


def test_a_replay_is_refused_where_the_clock_is_the_wall_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(TOY.read_text().replace("clock: replay", "clock: wall"))
    monkeypatch.setattr("pipelines.replay.__main__.read_world", lambda *_: pytest.fail("it has begun"))
    files = ["--params", str(params), "--home", str(tmp_path), "--server", "http://127.0.0.1:9"]
    assert main([*files, "--start", "2024-03-05", "--end", "2024-03-07", "--anew"]) == 2
    out, err = capsys.readouterr()
    assert "`clock` in params is `wall`" in err and not out
    assert not ReplayClock(build_context(params, tmp_path).records.simulated_time("pumps")).started
