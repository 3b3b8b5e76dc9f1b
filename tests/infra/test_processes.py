"""Stopping leaves no process behind and ends no other process."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from infra.processes import members, session_of, stop
from tests.infra.waiting import eventually


def test_stop_ends_workers_in_groups_of_their_own_and_those_that_ignore_term(start: Any) -> None:
    leader = start(f"trap '' TERM; {sys.executable} -c 'import os, time; os.setpgid(0, 0); time.sleep(600)' & wait")
    session = session_of(leader.pid)
    eventually(lambda: len(members([session])) == 2)
    assert stop([session], grace=0.3, reap=leader.poll) == []
    assert members([session]) == []


def test_stop_ends_the_processes_of_a_dead_leader(start: Any) -> None:
    leader = start("sleep 600 & sleep 600 & wait")
    session = session_of(leader.pid)
    eventually(lambda: len(members([session])) == 3)
    leader.kill()
    leader.wait()
    assert len(members([session])) == 2
    assert stop([session], grace=1) == []


@pytest.mark.parametrize("other", [{"started": "another start"}, {"boot": "another boot"}])
def test_a_reused_pid_is_left_alone(start: Any, other: dict[str, Any]) -> None:
    process = start("exec sleep 600")
    stop([replace(session_of(process.pid), **other)], grace=0)
    assert process.poll() is None
