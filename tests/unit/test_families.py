"""Every registered model family keeps the same contract."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.scorer import Scorer
from pipelines.errors import InvalidInput
from pipelines.metrics.scores import measure
from pipelines.params.cleaning import CleaningRules as Rules
from pipelines.training.calibration import Uncalibrated
from pipelines.training.cleaning import fit_cleaning
from pipelines.training.families import MODULES, load_family
from pipelines.training.families.hist_gradient_boosting import float32_below
from pipelines.training.frames import numeric_inputs
from pipelines.training.onnx_graph import ML, to_onnx
from pipelines.training.preprocessing import Vocabulary, ordered_codes
from pipelines.training.tasks import Frames, Task
from pipelines.usecase import LABEL, ModelInputs
from tests.synthetic import AUXILIARY, INPUTS, frame, small_params

families = pytest.mark.parametrize("family", sorted(MODULES))


def fit(family: str, train: pd.DataFrame, validation: pd.DataFrame, inputs: ModelInputs = INPUTS, **rules: Any) -> Any:
    """A model fitted with small settings; `rules` replace parts of the project's `cleaning`."""
    params = small_params()
    changed = Rules.model_validate({**params.cleaning.model_dump(), **rules})
    cleaning = fit_cleaning(numeric_inputs(train, inputs), inputs.numeric, family, changed)
    task = Task(Frames(train, validation, (AUXILIARY,)), inputs, cleaning, seed=7)
    return load_family(family).fit(task, params.training.settings_of(family))


@cache
def fitted(family: str) -> Any:
    return fit(family, frame(4000, 1), frame(1000, 2))


ODD = ModelInputs((*INPUTS.numeric, "flat", "never", "mostly"), INPUTS.categorical)
RULES: dict[str, dict[str, Any]] = {
    "project": {},
    "fences, median": {
        "outliers": {"method": "iqr", "factor": 1.5, "flag": True},
        "missing": {"strategy": "median", "indicators": True},
    },
    "narrow, constant": {
        "outliers": {"method": "quantile", "low": 0.2, "high": 0.8, "flag": True},
        "missing": {"strategy": "constant", "value": -7.5, "indicators": True},
        "families": {},
    },
    "uncapped, unmarked": {"outliers": {"method": "none"}, "missing": {"strategy": "mean", "indicators": False}},
}


def with_odd_columns(made: pd.DataFrame) -> pd.DataFrame:
    """A constant column, one without any value, and one that is nearly always missing."""
    mostly = np.where(np.arange(len(made)) % 50 == 0, made["y"], np.nan)
    return made.assign(flat=np.float32(3.7), never=np.float32(np.nan), mostly=mostly.astype(np.float32))


@cache
def odd(family: str, named: str) -> Any:
    return fit(family, with_odd_columns(frame(1500, 1)), with_odd_columns(frame(400, 2)), ODD, **RULES[named])


def scorer(graph: bytes, inputs: ModelInputs = INPUTS) -> Scorer:
    return Scorer(graph, inputs, threads=1)


def hard(rows: int, seed: int, thresholds: np.ndarray[Any, Any], inputs: ModelInputs = INPUTS) -> pd.DataFrame:
    """Rows with unseen and missing strings, NaN, infinities, and numbers at and next to every threshold."""
    draw = np.random.default_rng(seed)
    odd_rows = with_odd_columns(frame(rows, seed))
    steps = [thresholds, *(np.nextafter(thresholds, np.float32(end)) for end in (-np.inf, np.inf))]
    odd = np.concatenate([*steps, [np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-45]]).astype(np.float32)
    for name in inputs.numeric:
        values = odd_rows[name].to_numpy(dtype=np.float32, copy=True)
        at = draw.random(rows) < 0.7
        values[at] = draw.choice(odd, at.sum())
        if rows >= len(odd):
            values[draw.permutation(rows)[: len(odd)]] = odd
        odd_rows[name] = values
    strings = np.array([None, "", "never seen", "0=a", "Ünseen", "a"], dtype=object)
    for name in inputs.categorical:
        odd_rows[name] = np.where(draw.random(rows) < 0.3, draw.choice(strings, rows), odd_rows[name])
    return odd_rows


def graph_of(native: Any) -> bytes:
    return to_onnx(native, Uncalibrated())


def predict(native: Any, rows: pd.DataFrame) -> Any:
    return Uncalibrated().apply(native.log_odds(rows))


@families
def test_the_graph_scores_as_the_library_does_on_hard_rows(family: str) -> None:
    native = fitted(family)
    graph = graph_of(native)
    nodes = {node.op_type: node for node in onnx.load_model_from_string(graph).graph.node}
    trees = nodes.get("TreeEnsembleRegressor")
    values = next(a for a in trees.attribute if a.name == "nodes_values").floats if trees else [0.0]
    rows = hard(10_000, 3, np.unique(np.array(values, dtype=np.float32)))
    scores = scorer(graph).score(rows)
    assert np.abs(scores - predict(native, rows)).max() <= 1e-5
    assert np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1


@families
@pytest.mark.parametrize("named", RULES)
def test_the_graph_cleans_as_the_library_does(family: str, named: str) -> None:
    """At, just below and just above every cap; NaN, infinities; columns that are constant or empty in training."""
    native = odd(family, named)
    caps = np.concatenate([native.cleaning.low, native.cleaning.high, native.cleaning.fill])
    rows = hard(10_000, 4, np.unique(caps[np.isfinite(caps)]), ODD)
    scores = scorer(graph_of(native), ODD).score(rows)
    assert np.abs(scores - predict(native, rows)).max() <= 1e-5
    assert np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1


@families
def test_a_value_beyond_a_cap_scores_like_the_cap_with_its_flag(family: str) -> None:
    native = odd(family, "project")
    score = scorer(graph_of(native), ODD).score
    high = native.cleaning.high[ODD.numeric.index("x")]
    assert ODD.numeric.index("x") in native.cleaning.flags
    row = with_odd_columns(frame(1, 8))
    far, near = (score(row.assign(x=np.float32(x)))[0] for x in (1e30, np.nextafter(high, np.inf)))
    assert far == near


@families
def test_an_infinity_scores_like_a_missing_value(family: str) -> None:
    native = odd(family, "project")
    score = scorer(graph_of(native), ODD).score
    row = with_odd_columns(frame(1, 8))
    missing, *infinite = (score(row.assign(x=x))[0] for x in (np.float32(np.nan), np.float32(np.inf), -np.inf, 1e39))
    assert infinite == [missing] * 3


@families
def test_an_input_that_is_constant_in_training_has_no_effect(family: str) -> None:
    native = odd(family, "project")
    score = scorer(graph_of(native), ODD).score
    rows = with_odd_columns(frame(50, 8))
    for name in ("flat", "never"):
        for value in (np.nan, -1e30, 0.0, 5.0, np.inf):
            np.testing.assert_array_equal(score(rows.assign(**{name: np.float32(value)})), score(rows))


@families
def test_the_same_seed_gives_the_same_bytes(family: str) -> None:
    again = graph_of(fit(family, frame(4000, 1), frame(1000, 2)))
    assert hashlib.sha256(again).hexdigest() == hashlib.sha256(graph_of(fitted(family))).hexdigest()


@families
def test_every_family_learns_the_signal(family: str) -> None:
    held = frame(3000, 9)
    metrics = measure(held[LABEL], scorer(graph_of(fitted(family))).score(held))
    assert metrics["roc_auc"] > 0.78 and metrics["skill"] > 0.2 and metrics["calibration_gap"] < 0.06


@families
def test_training_leaves_the_frame_unchanged_and_rows_score_the_same_one_by_one(family: str) -> None:
    rows = hard(40, 5, np.zeros(1, dtype=np.float32))
    before = rows.copy(deep=True)
    score = scorer(graph_of(fitted(family))).score
    together = score(rows)
    np.testing.assert_allclose([score(rows.iloc[n : n + 1])[0] for n in range(40)], together, atol=1e-6)
    pd.testing.assert_frame_equal(rows, before)
    assert score(rows.iloc[:0]).shape == predict(fitted(family), rows.iloc[:0]).shape == (0,)


@families
@pytest.mark.parametrize("inputs", [ModelInputs(("x", "y"), ()), ModelInputs((), ("kind", "site"))])
def test_inputs_of_a_single_kind_work(family: str, inputs: ModelInputs) -> None:
    native = fit(family, frame(600, 1), frame(200, 2), inputs)
    rows = frame(200, 3)
    assert np.abs(scorer(graph_of(native), inputs).score(rows) - predict(native, rows)).max() <= 1e-5


def test_missing_columns_and_text_in_numeric_columns_are_named() -> None:
    score = scorer(graph_of(fitted("hist_gradient_boosting"))).score
    with pytest.raises(InvalidInput, match="gappy, site"):
        score(frame(5, 1).drop(columns=["gappy", "site"]))
    with pytest.raises(InvalidInput, match="not a number"):
        score(frame(5, 1).assign(x="wet"))


def test_an_unknown_family_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidInput, match=r"forest.*logistic_regression, hist_gradient_boosting, mlp"):
        load_family("forest")


def test_the_graph_of_trees_consists_of_an_encoder_and_an_ensemble() -> None:
    graph = onnx.load_model_from_string(graph_of(fitted("hist_gradient_boosting")))
    assert [n.op_type for n in graph.graph.node if n.domain == ML] == ["LabelEncoder", "TreeEnsembleRegressor"]


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False))
def test_rounding_a_threshold_down_changes_no_comparison(threshold: float, x: float) -> None:
    low = float32_below(np.array([threshold]))[0]
    assert (np.float32(x) <= low) == (np.float64(x) <= threshold)
    with np.errstate(over="ignore"):
        beside = [np.nextafter(low, np.float32(end)) for end in (-np.inf, np.inf)]
    for near in (low, *beside):
        assert (near <= low) == (np.float64(near) <= threshold)


@given(st.lists(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=2, max_size=2), min_size=1, max_size=50))
def test_every_category_has_an_embedding_row_within_its_own_column(drawn: list[list[str]]) -> None:
    strings = np.array(drawn, dtype=object)
    vocabulary = Vocabulary.fit(strings, rare=2)
    rows = vocabulary.rows(strings)
    ends = (*vocabulary.offsets[1:], vocabulary.size)
    for column, (start, end) in enumerate(zip(vocabulary.offsets, ends, strict=True)):
        assert ((rows[:, column] >= start) & (rows[:, column] < end)).all()
        assert ((rows[:, column] == start + 1) == (strings[:, column] == "")).all()


def test_codes_rise_with_the_mean_label_and_unseen_categories_are_nan() -> None:
    strings = np.array([["a"]] * 40 + [["b"]] * 40 + [[""]] * 40 + [["rare"]] * 2, dtype=object)
    labels = np.array([1.0] * 30 + [0.0] * 10 + [0.0] * 40 + [1.0] * 20 + [0.0] * 20 + [1.0] * 2)
    vocabulary = Vocabulary.fit(strings)
    codes = ordered_codes(vocabulary.rows(strings), labels, vocabulary, prior=10)
    unseen, missing, a, b = codes
    assert np.isnan(unseen) and (b, missing, a) == (0, 1, 2)


@pytest.mark.parametrize("family", ["logistic_regression", "hist_gradient_boosting"])
def test_class_weights_act_like_repeated_rows_of_label_1(family: str) -> None:
    params, train, read = small_params(), frame(3000, 1), frame(800, 2)
    cleaning = fit_cleaning(numeric_inputs(train, INPUTS), INPUTS.numeric, family, params.cleaning)
    task = Task(Frames(train, read), INPUTS, cleaning, seed=7)

    def mean_score(weight: float | str) -> float:
        settings = params.training.settings_of(family).model_copy(update={"positive_weight": weight})
        return float(predict(load_family(family).fit(task, settings), read).mean())

    plain, balanced, heavy = mean_score(1.0), mean_score("balanced"), mean_score(6.0)
    assert plain == pytest.approx(read[LABEL].mean(), abs=0.04) and balanced == pytest.approx(0.5, abs=0.05)
    assert plain < balanced < heavy


def test_both_solvers_of_logistic_regression_find_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training.families import logistic_regression as module

    params, train, read = small_params(), frame(3000, 1), frame(800, 2)
    cleaning = fit_cleaning(numeric_inputs(train, INPUTS), INPUTS.numeric, "logistic_regression", params.cleaning)
    settings, scores = params.training.logistic_regression.model_copy(update={"max_iter": 500}), []
    for narrow in (module.NARROW, 0):
        monkeypatch.setattr(module, "NARROW", narrow)
        fitted = module.fit(Task(Frames(train, read), INPUTS, cleaning, seed=7), settings)
        assert fitted.estimator.solver == ("newton-cholesky" if narrow else "lbfgs")
        scores.append(predict(fitted, read))
    apart = np.abs(scores[0] - scores[1])
    assert apart.max() < 0.01 and apart.mean() < 1e-3
