"""Checkpoints beside the commits continue after an error; in the end the file holds everything committed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.errors import Unavailable
from pipelines.records import Records
from pipelines.records.checkpoints import AT_MOST


def autocheckpoint(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("pragma wal_autocheckpoint").scalar_one())


def test_checkpoints_run_beside_commits_and_are_left_to_commits_afterwards(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    records.quick_predictions("pumps")
    checkpoints = records.checkpoints(every=0.01)
    checkpoints.begin()
    assert [autocheckpoint(engine) for engine in records.engines] == [AT_MOST] * 2
    checkpoints.end()
    for engine in records.engines:
        engine.dispose()
        assert autocheckpoint(engine) == 1000


def test_an_error_does_not_end_checkpointing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    checkpoints = records.checkpoints(every=0.01)
    connect, tries = records.engine.connect, []

    def failing() -> sa.Connection:
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable("the disk is full")
        return connect()

    checkpoints.begin()
    monkeypatch.setattr(records.engine, "connect", failing)
    while len(tries) < 5:
        time.sleep(0.01)
    checkpoints.end()
    assert "no checkpoint of the records" in caplog.text
