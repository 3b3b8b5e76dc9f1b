"""Processes that start together on a database that does not exist yet."""

from __future__ import annotations

import multiprocessing
from typing import Any

from pipelines.records import Records
from tests.services import thorough


def start(uri: str, together: Any, results: Any) -> None:
    together.wait(timeout=60)
    try:
        results.put(str(Records(uri).plans("pumps").current()))
    except Exception as error:
        results.put(repr(error))


@thorough
def test_processes_that_start_together_all_succeed(records_uri: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    results, together = spawn.Queue(), spawn.Barrier(4)
    starters = [spawn.Process(target=start, args=(records_uri, together, results)) for _ in range(4)]
    for starter in starters:
        starter.start()
    assert [results.get(timeout=60) for _ in starters] == ["None"] * 4
    for starter in starters:
        starter.join()
