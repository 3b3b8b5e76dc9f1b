"""The difference of two tables is that of their rows."""

from __future__ import annotations

from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contract.altering import altered_from
from pipelines.contract.difference import difference
from pipelines.usecase import DAY
from tests.toy import USECASE
from tests.unit.test_contract import START, subject

Row = tuple[float | None, str | None]
Rows = dict[int, Row]
VALUE = st.sampled_from([None, 0.0, 1.5, float("nan")])
ROWS = st.dictionaries(st.integers(0, 9), st.tuples(VALUE, st.sampled_from([None, "a", "b"])), max_size=6)


def table(rows: Rows, order: list[int] | None = None) -> pa.Table:
    keys = list(rows) if order is None else order
    return pa.table(
        {
            "key": pa.array(keys, pa.int64()),
            "number": pa.array([rows[key][0] for key in keys], pa.float64()),
            "text": pa.array([rows[key][1] for key in keys], pa.string()),
        }
    )


def plain(row: Row) -> Row:
    return (None if row[0] is None or np.isnan(row[0]) else row[0], row[1])


@given(ROWS, ROWS)
def test_tables_differ_exactly_where_their_rows_do(one: Rows, other: Rows) -> None:
    same = {key: plain(row) for key, row in one.items()} == {key: plain(row) for key, row in other.items()}
    assert (difference(table(one), table(other), ["key"]) is None) == same


@given(ROWS, st.randoms())
def test_order_matters_in_exact_comparisons_only(rows: Rows, draw: Random) -> None:
    order = draw.sample([*rows], len(rows))
    assert difference(table(rows), table(rows, order), ["key"]) is None
    assert (difference(table(rows), table(rows, order), ["key"], exact=True) is None) == (order == [*rows])


def test_a_difference_names_its_place_types_and_columns() -> None:
    one = table({1: (0.0, "a"), 2: (1.5, None)})
    assert difference(one, table({1: (0.0, "a"), 2: (1.5, "b")}), ["key"]) == "text of key 2 is None, and b"
    assert difference(one, one.slice(1), ["key"]) == "there are 2 rows, and 1"
    assert "the columns are" in str(difference(one, one.drop_columns(["text"]), ["key"]))
    whole = one.set_column(0, "key", one["key"].cast(pa.int32()))
    assert difference(one, whole, ["key"]) is None
    assert difference(one, whole, ["key"], exact=True) == "key is int64, and int32"
    lists = [one.append_column("list", pa.array(values)) for values in ([[1], [2]], [[1], [3]])]
    assert difference(lists[0], lists[0], ["key"]) is None and "list of key 2" in str(
        difference(lists[0], lists[1], ["key"])
    )


@given(st.integers(0, 2**32))
def test_altering_keeps_rows_before_a_period_and_gives_later_rows_other_values_and_keys(seed: int) -> None:
    of = subject(USECASE)
    after = altered_from(USECASE, of.tables, START, np.random.default_rng(seed))["readings"].to_pandas()
    before = of.tables["readings"].to_pandas()
    for kept, changed in ((True, False), (False, True)):
        rows = [frame[(frame[DAY] < START) == kept].reset_index(drop=True) for frame in (before, after)]
        assert rows[0].equals(rows[1]) != changed
    assert not after.duplicated(["pump", "read_at"]).any() and set(after.pump) <= set(before.pump)
    assert pd.api.types.is_float_dtype(after.heat)
