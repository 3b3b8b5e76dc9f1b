"""The clock of the model server and the judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.clock import ReplayClock, WallClock, require_driven
from pipelines.context import build_context
from pipelines.errors import InvalidInput
from pipelines.records import Records
from tests.conftest import TOY

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


def test_a_replay_clock_only_moves_forward_and_is_seen_by_every_process(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'records.db'}"
    clock, seen = ReplayClock(Records(uri).simulated_time("pumps")), ReplayClock(Records(uri).simulated_time("pumps"))
    for ask in (clock.now, lambda: clock.advance(NOON)):
        with pytest.raises(InvalidInput, match="is not set"):
            ask()
    clock.start(NOON)
    clock.advance(NOON)
    clock.advance(NOON + timedelta(microseconds=1))
    assert seen.now() == NOON + timedelta(microseconds=1)
    with pytest.raises(InvalidInput, match="cannot go back"):
        clock.advance(NOON)
    clock.start(NOON - timedelta(days=9))
    assert seen.now() == NOON - timedelta(days=9)
    with pytest.raises(InvalidInput, match="is not set"):
        ReplayClock(Records(uri).simulated_time("others")).now()


def test_the_wall_is_the_default(tmp_path: Path) -> None:
    assert isinstance(build_context(TOY, tmp_path).clock, ReplayClock)
    params = tmp_path / "params.yaml"
    params.write_text(TOY.read_text().replace("clock: replay\n", ""))
    clock = build_context(params, tmp_path).clock
    assert isinstance(clock, WallClock)
    assert datetime.now(UTC) - clock.now() < timedelta(minutes=1) and clock.now().tzinfo is UTC
    params.write_text(TOY.read_text().replace("clock: replay\n", "").replace("poll_seconds: 0.1", "deadline_hours: 1"))
    with pytest.raises(InvalidInput, match=r"deadline_hours is 1, .* 40 max_days"):
        build_context(params, tmp_path)
    params.write_text(TOY.read_text().replace("clock: replay\n", "clock: sundial\n"))
    with pytest.raises(InvalidInput, match="clock"):
        build_context(params, tmp_path)


def test_the_command_line_shows_and_sets_a_replay_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["clock", "--params", str(TOY), "--home", str(tmp_path)]
    assert main(words) == 2 and "is not set" in capsys.readouterr().err
    for given, shown in (
        ("2024-03-05", "2024-03-04T23:00:00+00:00"),
        ("2024-03-01T12:00+01:00", "2024-03-01T11:00:00"),
    ):
        assert main([*words, "--at", given]) == 0
        assert capsys.readouterr().out.startswith(shown) and main(words) == 0
        assert capsys.readouterr().out.startswith(shown)
    assert main([*words, "--at", "noon"]) == 2 and "'noon' is not an instant" in capsys.readouterr().err
    params = tmp_path / "params.yaml"
    params.write_text(TOY.read_text().replace("clock: replay\n", ""))
    assert main(["clock", "--params", str(params), "--home", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["clock", "--params", str(params), "--home", str(tmp_path), "--at", "2024-03-05"]) == 2
    assert "which cannot be driven; to replay the past, set `clock: replay`" in capsys.readouterr().err


def test_a_wall_clock_cannot_be_driven(tmp_path: Path) -> None:
    driven = ReplayClock(Records(f"sqlite:///{tmp_path / 'records.db'}").simulated_time("pumps"))
    assert require_driven(driven) is driven
    with pytest.raises(InvalidInput, match=r"`clock` in params is `wall`, .* set `clock: replay`$"):
        require_driven(WallClock())
