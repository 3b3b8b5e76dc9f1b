"""Processes that start together on a database that is not there yet."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from pipelines.records import Records


def start(uri: str, together: Any, results: Any) -> None:
    together.wait(timeout=60)
    try:
        results.put(str(Records(uri).rollouts("pumps").plan()))
    except Exception as error:
        results.put(repr(error))


def test_of_processes_that_start_together_none_fails(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    results, together = spawn.Queue(), spawn.Barrier(4)
    uri = f"sqlite:///{tmp_path / 'new' / 'records.db'}"
    starters = [spawn.Process(target=start, args=(uri, together, results)) for _ in range(4)]
    for starter in starters:
        starter.start()
    assert [results.get(timeout=60) for _ in starters] == ["None"] * 4
    for starter in starters:
        starter.join()
