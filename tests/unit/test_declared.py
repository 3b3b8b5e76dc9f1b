"""Built rows are refused where their columns are not the view's, or where two rows have one key and instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import CorruptData
from pipelines.features.declared import column_problems, require_distinct, views_of
from pipelines.instants.arrow import INSTANT
from pipelines.usecase import KNOWN_AT, FeatureTable
from tests.toy import USECASE

START = datetime(2024, 3, 1, tzinfo=UTC)
KEYS = FeatureTable("stock", ("pump", "shop"), ())
ROW = st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None]), st.sampled_from([0, 1, None]))


@given(st.lists(ROW, max_size=12), st.booleans())
def test_two_rows_of_one_key_and_instant_are_refused_and_no_others(
    rows: list[tuple[str | None, int | None, int | None]], ordered: bool
) -> None:
    """Rows without a key or an instant belong to no entity."""
    if ordered:
        rows = sorted(rows, key=lambda row: (str(row[2]), str(row[0]), str(row[1])))
    at = [None if hour is None else START + timedelta(hours=hour) for _, _, hour in rows]
    table = pa.table(
        {
            "pump": pa.array([row[0] for row in rows], pa.string()),
            "shop": pa.array([row[1] for row in rows], pa.int64()),
            KNOWN_AT: pa.array(at, INSTANT),
        }
    )
    complete = [row for row in rows if None not in row]
    if len(set(complete)) == len(complete):
        require_distinct(KEYS, table)
    else:
        with pytest.raises(CorruptData, match=r"two rows of pump [ab], shop [12] with known_at 2024-03-01T0"):
            require_distinct(KEYS, table)


def test_categories_are_keys_like_text() -> None:
    pumps = pa.array(["a", "b", "a"]).dictionary_encode()
    rows = pa.table({"pump": pumps, KNOWN_AT: pa.array([START] * 3, INSTANT)})
    table = FeatureTable("heat", ("pump",), ())
    require_distinct(table, rows.slice(1))
    with pytest.raises(CorruptData, match="two rows of pump a"):
        require_distinct(table, rows)


def test_many_keys_are_distinguished() -> None:
    """Their combinations exceed the range of an integer."""
    keys = tuple(f"k{n}" for n in range(8))
    rows = pa.table({name: [*range(999, -1, -1)] for name in keys} | {KNOWN_AT: pa.array([START] * 1000, INSTANT)})
    table = FeatureTable("wide", keys, ())
    require_distinct(table, rows)
    with pytest.raises(CorruptData, match=r"two rows of k0 5, .* \(1 such pairs\)"):
        require_distinct(table, pa.concat_tables([rows, rows.slice(994, 1)]))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pump", KNOWN_AT, "heat_1d", "heat_3d"], []),
        (["pump", KNOWN_AT, "heat_1d", "heat_3days"], ["lacks heat_3d, which its view", "has heat_3days, which its"]),
        ([KNOWN_AT, "heat_1d", "heat_3d"], ["lacks pump, which its view declares"]),
    ],
)
def test_columns_are_checked_against_those_of_the_view(names: list[str], message: list[str]) -> None:
    heat = USECASE.feature_tables[0]
    problems = [*column_problems(heat, names, views_of(USECASE))]
    assert len(problems) == len(message) and all(part in one for part, one in zip(message, problems, strict=True))


def test_a_table_without_a_view_is_refused() -> None:
    heat = FeatureTable("heat", ("pump",), ())
    (problem,) = column_problems(heat, ["pump", KNOWN_AT], views_of(USECASE))
    assert "has no view; declare one of that name in feature_repo (there are pump_heat, pump_maker)" in problem
