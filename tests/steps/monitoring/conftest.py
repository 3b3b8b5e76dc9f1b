"""The monitoring steps over a store of their own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.settings import Settings
from pipelines.usecase import EXAMPLE_ID, ModelInputs
from tests.conftest import ROOT
from tests.steps.monitoring.desk import END, INPUTS, START, Desk, as_table


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    from pipelines import point_in_time

    params = load_params(ROOT / "params.yaml")
    rules = params.monitoring.model_copy(update={"min_labelled": 100})
    usecase: Any = SimpleNamespace(name="meters", timezone="UTC", start=START, end=END, maturity=timedelta(hours=6))
    usecase.looks_ahead = timedelta(0)
    desk = Desk(Context(Settings(home=tmp_path), params.model_copy(update={"monitoring": rules}), usecase))

    def features(context: Context, rows: pa.Table, service: str, inputs: ModelInputs) -> pd.DataFrame:
        assert inputs == INPUTS
        desk.services.append(service)
        return desk.frame[desk.frame[EXAMPLE_ID].isin(rows[EXAMPLE_ID].to_pylist())].iloc[::-1]

    monkeypatch.setattr(
        point_in_time, "load_examples", lambda context, window, known_by=None, ahead=None: as_table(desk.frame)
    )
    monkeypatch.setattr(point_in_time, "feature_frame", features)
    return desk
