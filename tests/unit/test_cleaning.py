"""Cleaning: fitted on one frame, applied unchanged to every other, and counted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.artifacts.card import ColumnCleaning
from pipelines.errors import CorruptData, InvalidInput
from pipelines.params.cleaning import CleaningRules as Rules
from pipelines.training.cleaning import Cleaning, fit_cleaning, from_card, from_facts, totals
from pipelines.usecase import ModelInputs
from tests.artifacts import model_card

QUANTILE = {"method": "quantile", "low": 0.1, "high": 0.9, "flag": True}
IQR = {"method": "iqr", "factor": 1.5, "flag": True}
MEAN = {"strategy": "mean", "indicators": True}
TREES, NET = "hist_gradient_boosting", "mlp"

numbers = arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.just(3)),
    elements=st.one_of(
        st.floats(-1e6, 1e6, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 3.0000000054977558e38, 0.0, 1.5])
    ).map(np.float32),
)
outliers = st.sampled_from([QUANTILE, {**QUANTILE, "low": 0.0, "high": 1.0}, IQR, {"method": "none"}])
missing = st.sampled_from([MEAN, {"strategy": "median", "indicators": False}])


def rules(outliers: dict[str, Any], missing: dict[str, Any], **more: Any) -> Rules:
    return Rules.model_validate({"outliers": outliers, "missing": missing, **more})


def fit(numeric: Any, declared: Rules, family: str = NET) -> Cleaning:
    values = np.asarray(numeric, dtype=np.float32)
    return fit_cleaning(values, [f"c{n}" for n in range(values.shape[1])], family, declared)


def same(one: Cleaning, other: Cleaning) -> bool:
    return one.facts() == other.facts()


@given(numbers, numbers, outliers, missing)
def test_cleaning_is_idempotent(train: Any, other: Any, capping: dict[str, Any], filling: dict[str, Any]) -> None:
    cleaning = fit(train, rules(capping, filling))
    assert same(cleaning, fit(train.copy(), rules(capping, filling)))
    for numeric in (train, other):
        before = numeric.copy()
        once = cleaning.values(numeric)
        np.testing.assert_array_equal(cleaning.values(once), once)
        np.testing.assert_array_equal(cleaning.capped(cleaning.capped(numeric)), cleaning.capped(numeric))
        np.testing.assert_array_equal(numeric, before)
        assert not np.isnan(once).any() and once.dtype == np.float32
        assert (once >= cleaning.low).all() and (once <= cleaning.high).all()
        assert not cleaning.outside(once).any()
        assert cleaning.apply(numeric).shape == (len(numeric), cleaning.width)


@given(numbers, outliers, st.sampled_from([MEAN, {"strategy": "none", "indicators": True}]))
def test_the_recorded_facts_reproduce_the_cleaning(
    train: Any, capping: dict[str, Any], filling: dict[str, Any]
) -> None:
    every = {TREES: {"missing": filling}}
    cleaning = fit(train, rules(capping, MEAN, families=every), TREES)
    written = json.dumps({name: fact.as_json() for name, fact in cleaning.facts().items()}, allow_nan=False)
    read = {name: ColumnCleaning.model_validate(fact) for name, fact in json.loads(written).items()}
    again = from_facts(read, cleaning.columns)
    np.testing.assert_array_equal(again.apply(train), cleaning.apply(train))
    assert again.count(train) == cleaning.count(train)


@given(numbers, outliers)
def test_missing_indicators_vary_in_training(train: Any, capping: dict[str, Any]) -> None:
    marks = fit(train, rules(capping, MEAN)).marks(train)
    assert set(np.unique(marks)) <= {0.0, 1.0}
    assert all(0 < column.mean() < 1 for column in marks.T)


def test_values_are_capped_at_quantiles_and_filled_with_the_capped_mean() -> None:
    train = [[n, 7, np.nan] for n in range(11)] + [[np.nan, 7, np.nan]]
    cleaning = fit(train, rules(QUANTILE, MEAN))
    assert cleaning.low.tolist() == [1, 7, 0] and cleaning.high.tolist() == [9, 7, 0]
    assert cleaning.fill.tolist() == [5, 7, 0]
    assert cleaning.flags == (0,) and cleaning.indicators == (0,)
    rows = np.array([[-np.inf, 6, 5], [np.inf, 7, np.nan], [np.nan, 9, 0], [9, 7, 0]], dtype=np.float32)
    assert cleaning.apply(rows).tolist() == [[1, 7, 0, 1, 0], [9, 7, 0, 1, 0], [5, 7, 0, 0, 1], [9, 7, 0, 0, 0]]
    counted = cleaning.count(rows)
    assert counted.as_json() == {
        "rows": 4,
        "columns": {
            "c0": {"capped": 2, "missing": 1, "imputed": 1},
            "c1": {"capped": 2, "missing": 0, "imputed": 0},
            "c2": {"capped": 1, "missing": 1, "imputed": 1},
        },
    }
    assert totals(counted) == {"rows": 4, "capped_share": 5 / 12, "missing_share": 2 / 12, "imputed_share": 2 / 12}


def test_fences_lie_around_the_quartiles_unless_these_are_equal() -> None:
    train = [[n, 0 if n < 90 else 5] for n in range(101)]
    cleaning = fit(train, rules(IQR, {"strategy": "median", "indicators": True}))
    assert cleaning.low.tolist() == [25 - 75, -np.inf] and cleaning.high.tolist() == [75 + 75, np.inf]
    assert cleaning.fill.tolist() == [50, 0]


def test_the_most_specific_rule_wins_part_by_part() -> None:
    constant = {"strategy": "constant", "value": -9, "indicators": False}
    declared = rules(
        QUANTILE,
        MEAN,
        columns={"c1": {"missing": constant}, "c2": {"outliers": {"method": "none"}}},
        families={
            TREES: {"missing": {"strategy": "none", "indicators": False}, "columns": {"c0": {"missing": constant}}}
        },
    )
    train = [[n, n, n] for n in range(11)] + [[np.nan] * 3]
    net, trees = fit(train, declared), fit(train, declared, TREES)
    assert net.fill.tolist() == [5, -9, 5] and net.indicators == (0, 2)
    assert net.high.tolist() == trees.high.tolist() == [9, 9, np.inf]
    assert trees.fill[0] == -9 and np.isnan(trees.fill[1:]).all() and trees.indicators == ()
    assert np.isnan(trees.values(np.array(train, dtype=np.float32))[-1, 1:]).all(), "kept"
    assert trees.count(np.array(train, dtype=np.float32)).columns["c1"] == {"capped": 2, "missing": 1, "imputed": 0}


def test_a_rule_for_a_column_that_no_model_reads_is_refused() -> None:
    declared = rules(QUANTILE, MEAN, families={TREES: {"columns": {"colour": {"missing": MEAN}}}})
    with pytest.raises(InvalidInput, match=r"cleaning names colour, no numeric model input"):
        fit([[1.0]], declared)


def test_a_card_without_a_columns_cleaning_is_corrupt() -> None:
    facts = fit([[1.0], [2.0]], rules(QUANTILE, MEAN)).facts()
    cleaning = {"columns": facts, "counts": {}}
    assert from_card(model_card(ModelInputs(("c0",), ()), cleaning=cleaning)).facts() == facts
    with pytest.raises(CorruptData, match=r"model\.json does not tell how 'c1' is cleaned; train the model again"):
        from_card(model_card(ModelInputs(("c1",), ()), cleaning=cleaning))
