"""Of pushed rows, the newest one of each entity is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.features.stream import _newest
from pipelines.instants.arrow import INSTANT
from pipelines.usecase import KNOWN_AT

START = datetime(2024, 3, 1, tzinfo=UTC)
ROW = st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None]), st.sampled_from([0, 1, 2, None]))


@given(st.lists(ROW, max_size=12))
def test_the_newest_row_of_each_entity_is_pushed_once(rows: list[tuple[str | None, int | None, int | None]]) -> None:
    instants = [None if hour is None else START + timedelta(hours=hour) for _, _, hour in rows]
    table = pa.table(
        {
            "pump": pa.array([row[0] for row in rows], pa.string()),
            "shop": pa.array([row[1] for row in rows], pa.int64()),
            KNOWN_AT: pa.array(instants, INSTANT),
        }
    )
    picked = _newest(table, ("pump", "shop")).tolist()
    complete = [n for n, row in enumerate(rows) if None not in row]
    assert picked == sorted(picked) and {rows[n][:2] for n in picked} == {rows[n][:2] for n in complete}
    assert len({rows[n][:2] for n in picked}) == len(picked) and set(picked) <= set(complete)
    for n in picked:
        others = [other for other in complete if rows[other][:2] == rows[n][:2]]
        assert n == max(others, key=lambda other: (rows[other][2], other)), (
            "of several at one instant the last is written"
        )
