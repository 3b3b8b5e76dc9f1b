"""Bars of params.yaml name computed metrics: each computation gives exactly the names that are listed for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipelines.artifacts.model import Model
from pipelines.configuration import load_params
from pipelines.metric_names import AGAINST, EVALUATED, FLOORS, LATENCY, MONITORED, RETRAINING, SCORES, SIZE
from pipelines.metrics.scores import Sample, differences
from pipelines.monitoring.performance import performance
from pipelines.registration.checks import graph_metrics, worst_slice_metrics
from pipelines.usecase import LABEL
from pipelines.verdict import TIMED
from tests.artifacts import evaluation, model_card, summary
from tests.conftest import ROOT

LABELS = np.tile([0.0, 1.0], 20)
SAMPLE = Sample.of(LABELS, np.linspace(0.1, 0.9, 40), np.arange(40) // 10)


def test_a_forecast_is_measured_and_compared_by_the_listed_names() -> None:
    assert tuple(SAMPLE.measure()) == SCORES
    assert tuple(differences(SAMPLE, SAMPLE, 40, 1)) == AGAINST


def test_the_gate_reads_the_listed_names() -> None:
    empty: Any = pd.DataFrame()
    given = {
        **worst_slice_metrics(evaluation(), (), 1),
        **graph_metrics(Model("m", model_card(), b"graph"), empty, {LATENCY}),
    }
    assert {*EVALUATED, *given} == set(FLOORS) and {LATENCY, SIZE} <= set(given) and LATENCY in TIMED


def test_a_monitored_window_is_judged_by_the_listed_names_and_not_by_drift() -> None:
    frame = pd.DataFrame({LABEL: LABELS, "score": 0.5})
    fields = {"roc_auc_drop": 0.0, "score_drift": 0.0, "drift_share": 0.0, "n_labelled": 40}
    names = set(summary(metrics=performance(frame), **fields).tracked)
    assert set(performance(frame)) == set(performance(frame.iloc[:0])) > set(MONITORED)
    assert names - set(RETRAINING) == {"score_drift", "drift_share", "n_labelled"} and set(RETRAINING) < names


def test_the_params_of_the_project_use_listed_names() -> None:
    params = load_params(ROOT / "params.yaml")
    assert {gate.metric for gate in params.gate.floors} <= set(FLOORS)
