"""A deck that is not up, and processes that end with the test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.deck import Deck, load_deck
from infra.processes import Session, session_of, stop


@pytest.fixture
def deck(tmp_path: Path) -> Deck:
    deck = load_deck({"FLIGHTDECK_HOME": str(tmp_path / "home")})
    deck.run.mkdir(parents=True)
    deck.logs.mkdir()
    return deck


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a shell command in a session of its own, which is killed when the test ends."""
    started: list[Session] = []
    processes: list[subprocess.Popen[bytes]] = []

    def run(command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sh", "-c", command], start_new_session=True)
        started.append(session_of(process.pid))
        processes.append(process)
        return process

    yield run
    stop(started, grace=0)
    for process in processes:
        process.wait()
