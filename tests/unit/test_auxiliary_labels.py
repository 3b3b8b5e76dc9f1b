"""Auxiliary labels: used only once known, and never in place of the label."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.features.splits import keep_auxiliary, keep_labelled, mask_auxiliary
from pipelines.usecase import EXAMPLE_ID, LABEL, LABEL_KNOWN_AT

AS_OF = datetime(2024, 4, 1, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
labels = st.sampled_from([None, 0.0, 1.0])
instants = st.sampled_from([None, *(AS_OF + timedelta(hours=hours) for hours in (-30, -1, 0, 1, 30))])


def table(rows: list[tuple[float | None, datetime | None, float | None, datetime | None]]) -> pa.Table:
    label, known, worn, worn_known = zip(*rows, strict=True)
    return pa.table(
        {
            EXAMPLE_ID: [str(n) for n in range(len(rows))],
            LABEL: pa.array(label, pa.float64()),
            LABEL_KNOWN_AT: pa.array(known, INSTANT),
            "worn": pa.array(worn, pa.float64()),
            "worn_known_at": pa.array(worn_known, INSTANT),
        }
    )


@given(st.lists(st.tuples(labels, instants, labels, instants), min_size=1, max_size=30))
def test_each_row_is_put_into_the_file_for_the_labels_known_of_it(
    rows: list[tuple[float | None, datetime | None, float | None, datetime | None]],
) -> None:
    def seen(value: float | None, known: datetime | None) -> float | None:
        return value if known is not None and known <= AS_OF else None

    examples = mask_auxiliary(table(rows), AS_OF, ("worn",))
    others = keep_auxiliary(examples, AS_OF, ("worn",)).to_pylist()
    main = {str(n): row for n, row in enumerate(rows) if seen(*row[:2]) is not None}
    spare = {str(n): row for n, row in enumerate(rows) if str(n) not in main and seen(*row[2:]) is not None}
    assert {row[EXAMPLE_ID] for row in others} == set(spare)
    assert all(row[LABEL] is None and row[LABEL_KNOWN_AT] is None for row in others)
    kept = keep_labelled(examples, AS_OF, "train").to_pylist() if main else []
    assert {row[EXAMPLE_ID]: row[LABEL] for row in kept} == {name: row[0] for name, row in main.items()}
    for row in (*kept, *others):
        assert row["worn"] == seen(*rows[int(row[EXAMPLE_ID])][2:]) and "worn_known_at" not in row


def test_examples_without_the_declared_label_are_named() -> None:
    with pytest.raises(InvalidInput, match="torn, torn_known_at"):
        mask_auxiliary(table([(1.0, AS_OF, 1.0, AS_OF)]), AS_OF, ("torn",))


def test_without_auxiliary_labels_nothing_changes() -> None:
    examples = table([(1.0, AS_OF, None, None)])
    assert mask_auxiliary(examples, AS_OF, ()).equals(examples)
