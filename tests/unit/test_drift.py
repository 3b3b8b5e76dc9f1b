"""No value of a column stops the drift report: columns that cannot be measured are named."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.monitoring import pages
from pipelines.monitoring.distances import categorical_distance, numeric_distance
from pipelines.monitoring.drift import Drift, measure_drift, sample
from pipelines.monitoring.pages import MOST_CATEGORIES, drawn_labels, headed, quality_html
from pipelines.monitoring.predictions import SCORE
from pipelines.monitoring.retraining import Retraining, decide
from pipelines.monitoring.summary import SummarySources, introduce, summarize
from pipelines.usecase import DAY, LABEL, ModelInputs
from pipelines.verdict import Gate, Verdict
from pipelines.windows import Window
from tests.examples import costly

FLOAT32 = float(np.finfo(np.float32).max)
FILL = float(np.float32(9.96921e36))  # what NetCDF writes where there is no value
MARKUP = "</script><script>alert(1)</script>"
ROWS = 60
AS_OF = datetime(2024, 5, 1, tzinfo=UTC)
WINDOW = Window(date(2024, 4, 1), date(2024, 4, 8), "UTC")
GATES = (Gate(metric="roc_auc_drop", direction="at_most", threshold=0.03),)


def frame(seed: int = 0, rows: int = ROWS, **columns: Any) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    usual = {SCORE: draw.random(rows), LABEL: (draw.random(rows) < 0.4).astype(float), DAY: date(2024, 4, 1)}
    return pd.DataFrame({**usual, **columns}, index=range(rows))


def normal(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=rows)


def by_name(drift: Drift) -> dict[str, tuple[float | None, bool]]:
    return {column.column: (column.distance, column.drifted) for column in drift.columns}


STUCK = {
    "both the same fill": (FILL, FILL, False),
    "1e15": (1e15, 1e15, False),
    "fill against numbers": (FILL, None, True),
    "numbers against fill": (None, FILL, True),
    "another fill": (FILL, 1e20, True),
    "the largest there is": (sys.float_info.max, None, True),
    "numbers against the largest": (None, -sys.float_info.max, True),
    "both the smallest": (5e-324, 5e-324, False),
}


def stuck(side: int) -> dict[str, Any]:
    """Columns for one side, by name; those without a constant value are random."""
    return {name: normal(side) if pair[side] is None else np.full(ROWS, pair[side]) for name, pair in STUCK.items()}


def test_a_constant_column_is_measured_and_does_not_disturb_other_columns() -> None:
    """All at once: columns that Evidently cannot bin are measured without it, and other columns are not affected."""
    inputs = ModelInputs((*STUCK, "usual"), ("kind",))
    current, reference = (
        frame(
            side,
            **stuck(side),
            usual=normal(side) + side,
            kind=["a", "b"] * (ROWS // 2),
        )
        for side in (0, 1)
    )
    drift = measure_drift(current, reference, inputs)
    measures = by_name(drift)
    assert {name: measures[name][1] for name in STUCK} == {name: drifted for name, (_, _, drifted) in STUCK.items()}
    assert all(measures[name][0] == 0 for name in ("both the same fill", "1e15"))
    assert all(distance is not None and np.isfinite(distance) for distance, _ in measures.values())
    alone = by_name(measure_drift(current, reference, ModelInputs(("usual",), ("kind",))))
    assert {name: measures[name] for name in alone} == alone
    assert drift.unmeasured == {} and "usual" not in drift.undrawn
    assert {"both the same fill", "fill against numbers", "the largest there is"} <= set(drift.undrawn)
    assert drift.share(["both the same fill", "another fill"]) == 0.5


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_distances_are_those_of_evidently(scale: float) -> None:
    inputs = ModelInputs(("x",), ("kind",))
    kinds = np.random.default_rng(3).choice(["a", "b", "c"], (2, ROWS))
    sides = [frame(side, x=(normal(side) + side) * scale, kind=kinds[side]) for side in (0, 1)]
    current, reference = (side[["x", SCORE, "kind"]] for side in sides)
    page = pages.draw_drift(current, reference, inputs.categorical)
    assert page.undrawn == {} and set(page.distances) == {"x", SCORE, "kind"}
    for name in ("x", SCORE):
        assert numeric_distance(sides[0][name], sides[1][name]) == pytest.approx(page.distances[name], rel=1e-9)
    assert categorical_distance(sides[0].kind, sides[1].kind) == pytest.approx(page.distances["kind"], rel=1e-9)


magnitudes = st.sampled_from([0.0, 5e-324, 1e-45, 1e-6, 1.0, 1e15, 1.38e18, FILL, FLOAT32, 1e200, sys.float_info.max])


@given(st.lists(magnitudes, min_size=1, max_size=9), st.lists(magnitudes, min_size=1, max_size=9), st.booleans())
def test_every_distance_is_finite_and_only_equal_samples_have_none(
    ours: list[float], theirs: list[float], negative: bool
) -> None:
    current = -np.array(ours) if negative else np.array(ours)
    distance = numeric_distance(current, theirs)
    assert 0 <= distance <= sys.float_info.max
    assert numeric_distance(theirs, theirs) == 0
    if min(theirs) - float(max(current)) >= 1:  # of Python's floats, whose difference may be infinite
        assert distance > 0


def test_numbers_whose_squares_overflow_are_not_reported_as_no_drift() -> None:
    """Evidently divides by an infinite standard deviation here, and finds no drift."""
    drift = measure_drift(frame(x=normal()), frame(1, x=normal(1) * 1e200), ModelInputs(("x",), ()))
    assert by_name(drift)["x"][1] and "too large" in drift.undrawn["x"]


def test_a_column_that_is_empty_on_both_sides_is_named_and_left_out_of_the_share() -> None:
    inputs = ModelInputs(("x", "gone", "inf"), ("kind",))
    empty: dict[str, Any] = {"gone": np.nan, "inf": np.inf, "kind": None}
    drift = measure_drift(frame(x=normal(), **empty), frame(1, x=normal(), **{**empty, "inf": 1.0}), inputs)
    assert drift.unmeasured == dict.fromkeys(
        ("gone", "kind"), "it has no value in the window and none in the reference"
    )
    assert by_name(drift)["inf"] == (None, True), "infinities are missing values, so the column became empty"
    assert drift.share(inputs.names) == 0.5 and drift.share(["gone", "kind"]) is None


def test_a_gate_on_unmeasurable_score_drift_holds() -> None:
    none = frame(x=normal()).assign(**{SCORE: np.nan})
    inputs = ModelInputs(("x",), ())
    summary = summarize(SummarySources(none, none, measure_drift(none, none, inputs), inputs), WINDOW, AS_OF, "3")
    assert summary.score_drift is None and SCORE in summary.unmeasured
    gate = Gate(metric="score_drift", direction="at_most", threshold=0.1)
    assert gate.check(summary.tracked).verdict is Verdict.HOLD
    assert decide(summary, GATES, 1)[0] is Retraining.HOLD
    assert any(SCORE in line and "Not measured" in line for line in introduce(summary))


def test_rare_categories_share_a_bar_and_are_measured_separately() -> None:
    rows = 3 * MOST_CATEGORIES
    current, reference = (frame(side, rows, kind=[f"{side} {n}" for n in range(rows)]) for side in (0, 1))
    drift = measure_drift(current, reference, ModelInputs((), ("kind",)))
    assert by_name(drift)["kind"][0] == pytest.approx(np.sqrt(np.log(2))), "the samples have no category in common"
    assert drift.grouped == ("kind",) and "rarer categories of kind" in drift.left_out
    assert drift.html.count(b"rarer categories)") > 0


def test_categories_are_text_on_a_page() -> None:
    kinds = [MARKUP, "<b>", "x" * 100_000 + "1", "x" * 100_000 + "2"] * (ROWS // 4)
    drift = measure_drift(frame(kind=kinds), frame(1, kind=[*kinds[1:], MARKUP]), ModelInputs((), ("kind",)))
    assert b"alert(1)" in drift.html and MARKUP.encode() not in drift.html and len(drift.html) < 6_000_000
    labels = drawn_labels(pd.Series(kinds).value_counts())
    assert len(set(labels.values())) == 4 and max(map(len, labels.values())) < 100


def test_a_page_that_cannot_be_rendered_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no\npicture")

    usual = frame(x=normal())
    expected = by_name(measure_drift(usual, usual, ModelInputs(("x",), ())))
    monkeypatch.setattr(pages, "_drift_report", broken)
    monkeypatch.setattr(pages, "_quality_report", broken)
    drift = measure_drift(usual, usual, ModelInputs(("x",), ()))
    assert by_name(drift) == expected and drift.undrawn == {"x": "no picture", SCORE: "no picture"}
    quality = quality_html(usual, usual)
    assert (quality.html, quality.why) == (None, "no picture")
    left_out = {"quality.html": quality.why or ""}
    sources = SummarySources(usual, usual, drift, ModelInputs(("x",), ()), left_out=left_out)
    summary = summarize(sources, WINDOW, AS_OF, "3")
    page = headed(drift.html, "Drift", introduce(summary)).decode()
    assert "picture of x (no picture)" in page and "quality.html (no picture)" in page
    assert decide(summary, GATES, 1)[0] is Retraining.KEEP


numbers = st.one_of(
    st.builds(lambda value: np.full(ROWS, value), magnitudes),
    st.builds(lambda value: np.where(np.arange(ROWS) % 7, value, 1.0), magnitudes),
    st.builds(lambda value, seed: np.append(normal(seed)[1:], value), magnitudes, st.integers(0, 9)),
    st.builds(lambda seed, value: np.clip(normal(seed), -1, 1) * value, st.integers(0, 9), magnitudes),
    st.sampled_from([np.full(ROWS, np.nan), np.full(ROWS, -np.inf), np.where(np.arange(ROWS) % 2, np.inf, np.nan)]),
)
texts = st.sampled_from(
    [
        ["a"] * ROWS,
        [None] * ROWS,
        [MARKUP, "{{x}}", "$", "", "nan"] * (ROWS // 5),
        [f"kind {n}" for n in range(ROWS)],
        ["y" * 10_000, None] * (ROWS // 2),
    ]
)
scores = st.sampled_from([np.zeros(ROWS), np.ones(ROWS), normal() ** 2 / 20, np.full(ROWS, np.nan)])
labels = st.sampled_from([np.zeros(ROWS), np.ones(ROWS), np.arange(ROWS) % 2.0, np.full(ROWS, np.nan)])
sides = st.builds(
    lambda many, kind, score, label, rows: frame(
        0, **{f"n{at}": one for at, one in enumerate(many)}, kind=kind, **{SCORE: score, LABEL: label}
    ).head(rows),
    st.lists(numbers, min_size=4, max_size=4),
    texts,
    scores,
    labels,
    st.sampled_from([1, 2, ROWS]),
)


@costly()
@given(sides, sides)
def test_a_summary_is_written_and_decided_on_whatever_the_columns(
    current: pd.DataFrame, reference: pd.DataFrame
) -> None:
    inputs = ModelInputs(tuple(f"n{at}" for at in range(4)), ("kind",))
    drift = measure_drift(sample(current, ROWS), sample(reference, ROWS), inputs)
    quality = quality_html(current, reference)
    assert (quality.html is None) == (quality.why is not None)
    left_out = {} if quality.html else {"q": "none"}
    summary = summarize(SummarySources(current, reference, drift, inputs, left_out=left_out), WINDOW, AS_OF, "3")
    json.dumps(summary.as_json(), allow_nan=False)
    assert MARKUP.encode() not in headed(drift.html, "Drift", introduce(summary))
    verdict, reasons = decide(summary, GATES, 1)
    assert verdict in set(Retraining) and reasons
    for column in drift.columns:
        assert column.is_measured or column.column in summary.unmeasured
