"""The copied years of the data plane's benchmark can be ingested."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import data_plane
from tests.services import thorough


@thorough
def test_a_copied_year_has_the_rows_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_plane, "STEPS", ("ingest",))
    told = data_plane.run(1, tmp_path)["ingest"]
    assert told["outputs"]["tables"]["flights"]["rows"] == 336_776
    assert not (tmp_path / "source-1").exists(), "it would fill the disk"
