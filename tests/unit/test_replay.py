"""A replay tells every event once, in order, and none before it was known."""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
import pytest

from pipelines.context import Context
from pipelines.replay.world import read_world
from pipelines.usecase import EXAMPLE_ID, KNOWN_AT, LABEL_KNOWN_AT, PREDICTED_AT


@pytest.mark.parametrize("minutes", [15, 60, 7 * 60])
def test_everything_is_told_once_and_nothing_early(toy: Context, minutes: int) -> None:
    every = timedelta(minutes=minutes)
    world = read_world(toy, toy.window(date(2024, 3, 5), date(2024, 3, 9)))
    known = world.examples.set_index(EXAMPLE_ID)[LABEL_KNOWN_AT]
    asked, told, pushed = [], [], 0
    for tick in world.ticks(every):
        for name, rows in tick.features.items():
            assert (rows[KNOWN_AT] <= tick.at).all() and (rows[KNOWN_AT] > tick.at - every).all(), name
            pushed += len(rows)
        assert all(tick.at - every < known[identity] <= tick.at for identity, _ in tick.outcomes)
        told += [identity for identity, _ in tick.outcomes]
        asked += [request["id"] for request in tick.requests]
        assert all(set(request) == {"id", *toy.usecase.request_columns} for request in tick.requests)
    last = world.window.start_at + every * ((world.window.end_at - world.window.start_at) // every)
    ordered = world.examples.sort_values([PREDICTED_AT, EXAMPLE_ID])
    assert asked == list(ordered[EXAMPLE_ID][ordered[PREDICTED_AT] >= world.window.start_at])
    assert sorted(told) == sorted(known[(known > world.window.start_at - every) & (known <= last)].index)
    assert set(told) - set(asked), "what was asked before the window and is known only now is told too"
    assert pushed == sum((pd.to_datetime(rows[KNOWN_AT]) <= last).sum() for rows in world.features.values())


def test_a_replay_goes_on_where_it_was_stopped(toy: Context) -> None:
    every = timedelta(hours=1)
    world = read_world(toy, toy.window(date(2024, 3, 5), date(2024, 3, 7)))
    whole = list(world.ticks(every))
    again = list(world.ticks(every, since=whole[20].at))
    assert [tick.at for tick in again] == [tick.at for tick in whole[20:]]
    assert [tick.requests for tick in again] == [tick.requests for tick in whole[20:]]
