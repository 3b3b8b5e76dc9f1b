"""The clock of server and judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.clock import ReplayClock, WallClock
from pipelines.context import build_context
from pipelines.errors import InvalidInput
from pipelines.records import Records
from pipelines.settings import load_settings
from tests.conftest import TOY

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


def test_a_replay_goes_forward_only_and_every_process_sees_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'records.db'}"
    clock, seen = ReplayClock(Records(uri).engine, "pumps"), ReplayClock(Records(uri).engine, "pumps")
    for ask in (clock.now, lambda: clock.advance(NOON)):
        with pytest.raises(InvalidInput, match="stands nowhere"):
            ask()
    clock.start(NOON)
    clock.advance(NOON)
    clock.advance(NOON + timedelta(microseconds=1))
    assert seen.now() == NOON + timedelta(microseconds=1)
    with pytest.raises(InvalidInput, match="cannot go back"):
        clock.advance(NOON)
    clock.start(NOON - timedelta(days=9))
    assert seen.now() == NOON - timedelta(days=9)
    with pytest.raises(InvalidInput, match="stands nowhere"):
        ReplayClock(Records(uri).engine, "others").now()


def test_the_wall_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = build_context(TOY, tmp_path).clock
    assert isinstance(clock, WallClock)
    assert datetime.now(UTC) - clock.now() < timedelta(minutes=1) and clock.now().tzinfo is UTC
    monkeypatch.setenv("FLIGHTDECK_CLOCK", "replay")
    assert isinstance(build_context(TOY, tmp_path).clock, ReplayClock)
    monkeypatch.setenv("FLIGHTDECK_CLOCK", "sundial")
    with pytest.raises(InvalidInput, match="FLIGHTDECK_CLOCK='sundial'"):
        load_settings()
