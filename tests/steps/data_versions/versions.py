"""Shared by the tests of data versions: snapshots and registered versions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.context import Context
from pipelines.steps import execute
from tests.data_versions import toy_at, write

Capsys = pytest.CaptureFixture[str]


def snapshot(context: Context, **inputs: Any) -> str:
    return str(execute("snapshot", inputs, context)["data_version"])


def three(home: Path) -> list[str]:
    """Three versions: a day more each time, and in the last one a day restated with another column."""
    context, versions = toy_at(home), []
    write(context, "makers", "all", 0)
    for day in (1, 2, 3):
        write(context, "readings", f"2024-03-0{day}", day)
        if day == 3:
            write(context, "readings", "2024-03-01", 9, rows=5, heat=pa.array([1.5] * 5, "float32"))
        window = {"start": f"2024-03-0{day}", "end": f"2024-03-0{day + 1}"}
        versions.append(snapshot(context, **window, run=f"run{day}"))
    return versions


def register(context: Context, number: str, data_version: str, decision_id: str = "") -> None:
    """A registered version with the tags that the chain gives it."""
    client, name = context.tracker.client, context.models.name
    if number == "1":
        client.create_registered_model(name)
    tags = {"sha256": number, "model_uri": number, "data_version": data_version, "decision_id": decision_id}
    assert str(client.create_model_version(name, source=str(context.settings.root), tags=tags).version) == number
    context.aliases.note("challenger", number, "training", datetime.now(UTC))
