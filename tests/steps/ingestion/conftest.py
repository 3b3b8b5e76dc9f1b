"""Fixtures for the tests of ingestion."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.context import Context
from pipelines.steps import execute
from tests.sources import context_over, rows, write_csv
from tests.steps.ingestion.visits import WINDOW


@pytest.fixture
def reference(tmp_path: Path) -> Context:
    """The visits, read from one plain CSV."""
    write_csv(tmp_path / "one" / "visits.csv", rows())
    context = context_over(tmp_path / "reference", {"kind": "files", "uri": f"{tmp_path}/one/{{table}}.csv"})
    execute("ingest", WINDOW, context)
    return context
