"""The watch, over parts that are one-line shell commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from infra.deck import REPO, Deck
from infra.parts import Part
from infra.processes import members
from infra.supervisor import read_state, running
from infra.watch import GIVE_UP, Watch
from tests.infra.waiting import eventually


def shell(name: str, command: str, healthy: bool = True, **more: Any) -> Part:
    return Part(name, name, ("sh", "-c", command), lambda _: healthy, **more)


def becomes(watch: Watch, status: str) -> Callable[[], bool]:
    """Whether one more tick gives a watch this status."""

    def ticked() -> bool:
        watch.tick({})
        return watch.status == status

    return ticked


def test_parts_start_in_order_and_end_together(deck: Deck) -> None:
    watch = Watch(deck, [shell("first", "true", once=True), shell("second", "exec sleep 600", needs=("first",))])
    watch.tick({})
    assert [life.state for life in watch.lives.values()] == ["starting", "waiting"]
    eventually(becomes(watch, "up"))
    sessions = [life.session for life in watch.lives.values() if life.session]
    assert len(members(sessions)) == 1
    watch.end()
    assert members(sessions) == []
    assert read_state(deck) == {}


def test_a_part_that_keeps_dying_is_restarted_and_then_given_up(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.watch.PAUSE", 0.01)
    watch = Watch(deck, [shell("weak", "exit 7", healthy=False), shell("strong", "exec sleep 600")])
    eventually(becomes(watch, "failed"))
    assert watch.lives["weak"].restarts == GIVE_UP - 1
    assert watch.reason == f"weak ended with status 7 {GIVE_UP} times in a row; see {deck.logs / 'weak.log'}"
    watch.end()
    assert read_state(deck)["reason"] == watch.reason


def test_a_failed_migration_fails_the_start_at_once(deck: Deck) -> None:
    watch = Watch(deck, [shell("database", "exit 1", once=True), shell("api", "exec sleep 600", needs=("database",))])
    eventually(becomes(watch, "failed"))
    assert watch.lives["api"].state == "waiting"
    watch.end()


def test_a_supervisor_counts_as_running_while_it_holds_its_lock(deck: Deck) -> None:
    assert not running(deck)
    code = "import infra.watch, infra.deck; infra.watch.Watch(infra.deck.load_deck(), []).run()"
    env = {**os.environ, "FLIGHTDECK_HOME": str(deck.home), "PYTHONPATH": str(REPO)}
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    try:
        eventually(lambda: running(deck) and read_state(deck))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
    assert not running(deck)
