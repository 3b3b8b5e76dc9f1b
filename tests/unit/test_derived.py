"""Derived features: the value that each declaration defines, row by row, whatever the other rows."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.declare import Bins, Cross, Cyclical, Derived, Difference, Each, Function, Log, Ratio, derived_of
from pipelines.declare.reading import Elements, Recipe, Stored, StoredFeature, recipe_of
from pipelines.errors import InvalidInput
from pipelines.graph_inputs import exact_column, number_column
from tests.toy import USECASE as PUMPS
from tests.toy_lists import USECASE as LISTS

NUMBERS = st.floats(allow_infinity=False) | st.integers(-(10**6), 10**6).map(float)
INSTANTS = st.integers(-(2**40), 2**52) | st.none()
TEXTS = st.none() | st.sampled_from(["", "a", "b", "ü|"])
ELEMENTS = st.none() | st.lists(st.floats(-1e30, 1e30) | st.just(math.nan), max_size=6)
EDGES = (-3.0, 0.0, 0.5, 100.0)
WEAR = Each("mean", "parts", "part", "wear", "mean")
ROWS = st.lists(
    st.fixed_dictionaries(
        {"x": NUMBERS, "y": NUMBERS, "now": INSTANTS, "then": INSTANTS, "a": TEXTS, "b": TEXTS, WEAR.elements: ELEMENTS}
    ),
    max_size=6,
)
EVERY: tuple[Derived, ...] = (
    Difference("x_y", "x", "y"),
    Difference("days", "now", "then", unit=timedelta(days=1)),
    Ratio("x_by_y", "x", "y"),
    Log("log_x", "x"),
    Bins("bin", "x", EDGES),
    Cyclical("round", "x", 24.0),
    Cross("ab", "a", "b"),
    *(Each(by, "parts", "part", "wear", by) for by in ("mean", "max", "min", "sum", "count")),
    Function(("twice",), ("x_y",), lambda columns: {"twice": 2 * columns["x_y"]}),
)
KEYS = ("part",)
RECIPE = Recipe(
    EVERY, (), tuple((one, StoredFeature("v", "wear", Stored.NUMBER, KEYS)) for one in EVERY if isinstance(one, Each))
)


def columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    arrays: dict[str, np.ndarray[Any, Any]] = {name: np.array([row[name] for row in rows], np.float64) for name in "xy"}
    for name in ("now", "then"):
        ticks = [np.iinfo(np.int64).min if row[name] is None else row[name] for row in rows]
        arrays[name] = np.array(ticks, dtype=np.int64).view("datetime64[us]")
    for name in ("a", "b", WEAR.elements):
        arrays[name] = np.empty(len(rows), dtype=object)
        for place, row in enumerate(rows):
            value = row[name]
            arrays[name][place] = np.array(value, dtype=np.float64) if isinstance(value, list) else value
    arrays["parts"] = arrays[WEAR.elements]  # defined by their elements
    return arrays


def same(value: Any, expected: float | None) -> bool:
    return bool(np.isnan(value)) if expected is None or math.isnan(expected) else bool(value == expected)


def value_of(way: Callable[[float, float], float], x: float, y: float) -> float | None:
    """A finite result, else None: infinities and NaN are missing as inputs."""
    try:
        return number if math.isfinite(number := way(x, y)) else None
    except ZeroDivisionError:
        return None


@given(ROWS)
def test_each_row_equals_plain_python(rows: list[dict[str, Any]]) -> None:
    outputs = RECIPE.compute(columns(rows), len(rows))
    assert [*outputs] == [name for one in EVERY for name in one.names]
    exact = {name: exact_column(outputs[name], name) for name in outputs if name != "ab"}
    for n, row in enumerate(rows):
        x, y, wear = row["x"], row["y"], row[WEAR.elements]
        difference = value_of(operator.sub, x, y)
        assert same(exact["x_y"][n], difference)
        assert same(exact["twice"][n], difference and value_of(operator.mul, 2, difference))
        assert same(exact["x_by_y"][n], value_of(operator.truediv, x, y))
        apart = None if None in (row["now"], row["then"]) else row["now"] - row["then"]
        assert same(exact["days"][n], apart and float(apart) / 86_400_000_000)
        assert outputs["ab"][n] == (f"{row['a']}|{row['b']}" if row["a"] and row["b"] else None)
        there = [] if wear is None else [one for one in wear if not math.isnan(one)]
        total = 0.0
        for one in there:
            total += one
        assert same(exact["count"][n], None if wear is None else len(there))
        expected = (total, total / len(there), max(there), min(there)) if there else (None,) * 4
        for name, number in zip(("sum", "mean", "max", "min"), expected, strict=True):
            assert same(exact[name][n], number), name


@given(ROWS, st.data())
def test_no_row_changes_a_bit_of_another(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """In batches of any size and order: those of training, and the runs of a server."""
    whole = RECIPE.compute(columns(rows), len(rows))
    order = data.draw(st.permutations(range(len(rows))))
    cut = data.draw(st.integers(0, len(rows)))
    for part in (order[:cut], order[cut:], *([n] for n in order)):
        some = RECIPE.compute(columns([rows[n] for n in part]), len(part))
        for name, values in whole.items():
            assert values.dtype == some[name].dtype
            if name == "ab":
                assert some[name].tolist() == [values[n] for n in part]
            else:
                expected = number_column(values, name)[[*part]]
                assert number_column(some[name], name).tobytes() == expected.tobytes(), name


@given(st.floats(-1e9, 1e9), st.floats(0.001, 1e4))
def test_a_cycle_is_periodic(x: float, period: float) -> None:
    (sin,), (cos,) = Cyclical("c", "x", period).values({"x": np.array([x])}).values()
    assert math.hypot(sin, cos) == pytest.approx(1)
    angle = 2 * math.pi * math.fmod(x, period) / period
    assert (sin, cos) == (pytest.approx(math.sin(angle), abs=1e-6), pytest.approx(math.cos(angle), abs=1e-6))


@given(NUMBERS)
def test_an_undefined_logarithm_is_missing(x: float) -> None:
    (value,) = Log("l", "x").values({"x": np.array([x])})["l"]
    assert np.isnan(value) if math.isnan(x) or x <= -1 else value == pytest.approx(math.log1p(x))


@given(st.floats(allow_infinity=False), st.lists(st.floats(-1e6, 1e6), min_size=1, unique=True).map(sorted))
def test_a_bin_includes_its_lower_edge(x: float, edges: list[float]) -> None:
    (value,) = Bins("b", "x", (*edges,)).values({"x": np.array([x])})["b"]
    assert np.isnan(value) if math.isnan(x) else value == sum(edge <= x for edge in edges)


@given(st.lists(st.none() | st.lists(st.none() | st.sampled_from(["a", "b", 3]), max_size=4), max_size=5))
def test_list_elements_keep_their_grouping_and_order(lists: list[list[Any] | None]) -> None:
    column = np.empty(len(lists), dtype=object)
    for place, one in enumerate(lists):
        column[place] = one
    elements = Elements.of(column, "parts")
    again = elements.split(np.array([str(key) for key in elements.keys], dtype=object))
    expected = [None if one is None else [str(key) for key in one if key is not None] for one in lists]
    assert [None if one is None else one.tolist() for one in again] == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("abc", "parts: 'abc' is no list; declare it"),
        ([1.5], "parts: 1.5 in a list is no key"),
        ([True], "parts: True in a list is no key"),
        ([["a"]], r"parts: \['a'\] in a list is no key; let it be a text or a whole number"),
    ],
)
def test_a_value_that_is_no_list_of_keys_is_refused(value: Any, message: str) -> None:
    column = np.empty(1, dtype=object)
    column[0] = value
    with pytest.raises(InvalidInput, match=message):
        Elements.of(column, "parts")


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Difference("d", "x", "y", timedelta(0)), "derived d: the unit is 0:00:00; give a length"),
        (lambda: Bins("b", "x", ()), r"derived b: the edges are \(\); give one or more"),
        (lambda: Bins("b", "x", (1.0, 1.0)), "in ascending order"),
        (lambda: Bins("b", "x", (1.0, math.nan)), "in ascending order"),
        (lambda: Bins("b", "x", (math.nan,)), "in ascending order"),
        (lambda: Cyclical("c", "x", 0.0), "derived c: the period is 0.0; give a number above 0"),
        (lambda: Cyclical("c", "x", math.inf), "derived c: the period is inf"),
        (
            lambda: Each("e", "l", "k", "f", "median"),  # type: ignore[arg-type]
            "derived e: by is 'median'; choose from mean, max, min, sum, count",
        ),
    ],
)
def test_an_empty_declaration_is_refused(declare: Callable[[], Derived], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        declare()


@pytest.mark.parametrize("given_back", [{}, {"z": np.zeros(3)}, {"w": np.zeros(2)}, {"z": [0, 0]}])
def test_a_function_must_return_what_it_declares(given_back: Any) -> None:
    recipe = Recipe((Function(("z",), ("x",), lambda _: given_back),))
    with pytest.raises(
        InvalidInput, match=r"derived z gives .*; it must give for each of these names an array of a val"
    ):
        recipe.compute({"x": np.zeros(2)}, 2)


def test_only_the_inputs_of_a_model_are_computed() -> None:
    features = [StoredFeature("pump_last", "last_load", Stored.NUMBER, ("pump",))]
    recipe = recipe_of(LISTS, ["load_ratio", "clock_sin"], features, "s")
    assert recipe.names == ("load_ratio", "clock_sin", "clock_cos") and recipe.stored == tuple(features)
    assert recipe_of(LISTS, ["load"], features, "s") == Recipe() and derived_of(PUMPS) == ()
    assert hash(recipe) == hash(recipe_of(LISTS, ["clock_sin", "load_ratio"], features, "s"))
