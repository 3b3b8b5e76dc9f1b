from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipelines.metric_names import SCORES
from pipelines.metrics.curves import calibration_curve, precision_recall_curve, roc_curve
from pipelines.metrics.scores import Sample, differences, intervals, jsonable, measure
from pipelines.metrics.slices import slice_metrics, worst_slice

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 19).map(lambda n: n / 20)), min_size=2, max_size=60)


@given(rows)
def test_metrics_agree_with_scikit_learn_also_for_ties(drawn: list[tuple[int, float]]) -> None:
    labels, scores = np.array([d[0] for d in drawn]), np.array([d[1] for d in drawn])
    metrics = measure(labels, scores)
    assert metrics["log_loss"] == pytest.approx(sk.log_loss(labels, scores, labels=[0, 1]))
    assert metrics["brier"] == pytest.approx(np.mean((labels - scores) ** 2))
    assert metrics["calibration_gap"] == pytest.approx(abs(scores.mean() - labels.mean()))
    if 0 < labels.sum() < len(labels):
        assert metrics["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, scores))
        assert metrics["pr_auc"] == pytest.approx(sk.average_precision_score(labels, scores))


@given(rows, st.data())
def test_the_weight_of_a_block_equals_repeated_rows(drawn: list[tuple[int, float]], data: st.DataObject) -> None:
    labels, scores = np.array([d[0] for d in drawn]), np.array([d[1] for d in drawn])
    blocks = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(drawn), max_size=len(drawn))))
    names, code = np.unique(blocks, return_inverse=True)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names))), dtype=float)
    repeated = np.repeat(np.arange(len(drawn)), weights[code].astype(int))
    metrics = Sample.of(labels, scores, blocks).measure(weights)
    wanted = measure(labels[repeated], scores[repeated])
    for name in set(SCORES) - {"calibration_error"}:  # its bins are those of all rows, intentionally
        assert metrics[name] == pytest.approx(wanted[name], nan_ok=True)


@pytest.mark.parametrize("labels", [[], [0.0, 0.0], [1.0, 1.0]])
def test_an_undefined_metric_is_nan_and_null_in_json(labels: list[float]) -> None:
    metrics = measure(labels, [0.5] * len(labels))
    assert all(math.isnan(metrics[name]) for name in ("roc_auc", "pr_auc", "skill"))
    assert jsonable(metrics)["roc_auc"] is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_nan_score_makes_every_metric_undefined(bad: float) -> None:
    assert all(math.isnan(value) for value in measure([0, 1, 1], [0.1, bad, 0.7]).values())


def test_calibrated_scores_have_a_small_calibration_error_and_shifted_ones_a_large_one() -> None:
    draw = np.random.default_rng(0)
    truth = draw.random(40_000)
    labels = draw.random(40_000) < truth
    assert measure(labels, truth)["calibration_error"] < 0.01
    assert measure(labels, truth**2)["calibration_error"] > 0.1
    assert measure(labels, np.full(40_000, labels.mean()))["skill"] == pytest.approx(0, abs=1e-9)


def test_blocks_that_move_together_give_wider_intervals_than_independent_rows() -> None:
    draw = np.random.default_rng(1)
    days = np.repeat(np.arange(30), 100)
    rate = 1 / (1 + np.exp(-np.repeat(draw.normal(-1, 1, 30), 100)))
    labels, scores = (draw.random(3000) < rate).astype(float), np.full(3000, 0.3) + draw.normal(0, 0.01, 3000)
    by_day, by_row = (Sample.of(labels, scores, blocks) for blocks in (days, np.arange(3000)))
    day, row = (intervals(s.resample(100, 3), s.blocks)["brier"] for s in (by_day, by_row))
    assert day[1] - day[0] > 2 * (row[1] - row[0])
    assert day[0] < by_day.measure()["brier"] < day[1]


def test_one_block_gives_no_interval() -> None:
    sample = Sample.of([0, 1, 0, 1], [0.1, 0.9, 0.4, 0.5], ["d"] * 4)
    assert all(math.isnan(low) for low, _ in intervals(sample.resample(20, 0), sample.blocks).values())


def test_resampling_is_seeded_and_quick_on_many_rows() -> None:
    draw = np.random.default_rng(2)
    labels, scores, days = draw.integers(0, 2, 50_000), draw.random(50_000), draw.integers(0, 31, 50_000)
    sample = Sample.of(labels, scores, days)
    began = time.perf_counter()
    first = sample.resample(200, 5)
    assert time.perf_counter() - began < 5
    np.testing.assert_array_equal(first["roc_auc"], sample.resample(200, 5)["roc_auc"])


def test_a_model_does_not_differ_from_itself_and_a_better_one_has_less_loss() -> None:
    draw = np.random.default_rng(3)
    truth, days = draw.random(4000), np.repeat(np.arange(40), 100)
    labels = (draw.random(4000) < truth).astype(float)
    good, dull = (Sample.of(labels, s, days) for s in (truth, 0.5 * truth + 0.25))
    assert set(differences(good, good, 20, 1).values()) == {0.0}
    deltas = differences(good, dull, 50, 1)
    assert deltas["log_loss_delta_low"] <= deltas["log_loss_delta"] <= deltas["log_loss_delta_high"] < 0


def test_curves_are_thin_and_end_where_they_must() -> None:
    draw = np.random.default_rng(4)
    scores = draw.random(5000)
    labels = (draw.random(5000) < scores).astype(float)
    roc, recall = roc_curve(labels, scores), precision_recall_curve(labels, scores)
    assert len(roc) <= 200 and len(recall) <= 200
    assert list(roc.iloc[0, :2]) == [0, 0] and list(roc.iloc[-1, :2]) == [1, 1]
    assert roc.true_positive_rate.is_monotonic_increasing and recall.recall.iloc[-1] == 1
    assert np.trapezoid(roc.true_positive_rate, roc.false_positive_rate) == pytest.approx(
        sk.roc_auc_score(labels, scores), abs=0.002
    )
    bins = calibration_curve(labels, scores)
    assert bins["rows"].sum() == 5000 and len(bins) == 10
    assert roc_curve([1.0], [0.2]).empty and precision_recall_curve([0.0], [0.2]).empty


def test_small_slices_are_listed_but_not_ranked() -> None:
    frame = pd.DataFrame({"kind": ["a"] * 60 + ["b"] * 40 + [None] * 3})
    labels = np.tile([0.0, 1.0], 52)[:103]
    scores = np.where(frame.kind == "a", labels * 0.5 + 0.2, 0.5)
    slices = slice_metrics(frame, ["kind"], labels, scores, min_slice=30)
    assert [(s.value, s.rows, s.ranked) for s in slices["kind"]] == [
        ("a", 60, True),
        ("b", 40, True),
        ("(missing)", 3, False),
    ]
    worst = worst_slice(slices)
    assert worst is not None and (worst.column, worst.value, worst.metric("roc_auc")) == ("kind", "b", 0.5)
    assert worst_slice(slice_metrics(frame, ["kind"], labels, scores, min_slice=1000)) is None
