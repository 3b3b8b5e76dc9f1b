"""Contexts over the readings of meters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.settings import Settings
from pipelines.usecase import RawTable
from tests.conftest import ROOT
from tests.steps.validation.meters import END, METERS, MIDDLE, SITES, START, expectations, put, readings


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Context]:
    def context(
        declared: Callable[[RawTable], list[Any]] = expectations,
        max_share: float = 0.5,
        required: bool = True,
        floor: int = 1,
    ) -> Context:
        params = load_params(ROOT / "params.yaml")
        usecase: Any = SimpleNamespace(name="meters", timezone="UTC", start=START, end=END, expectations=declared)
        usecase.tables = (replace(METERS, required=required), SITES)
        bars = {"max_quarantine_share": max_share, "quarantine_floor_rows": floor}
        validation = params.validation.model_copy(update=bars)
        fresh = Context(Settings(home=tmp_path), params.model_copy(update={"validation": validation}), usecase)
        fresh.data.store.write_table(fresh.data.partition("raw", "sites", None), pa.table({"site": ["a", "b"]}))
        put(fresh, readings(START, [1.0, 2.0, 3.0]), START)
        put(fresh, readings(MIDDLE, [1.0, 2.0, 3.0]), MIDDLE)
        return fresh

    return context
