"""Increments of evidence are final: nothing that arrives later changes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.judge import Blocks, Events, Evidence, Exposure, matured

rows = st.lists(
    st.tuples(st.integers(0, 5), st.floats(-1, 1), st.integers(0, 1), st.none() | st.floats(0, 12)), max_size=40
)


def blocks_at(drawn: list[tuple[int, float, int, float | None]], as_of: float) -> Blocks:
    """Blocks of one time unit, with labels that mature two units later."""
    block, d, label = (np.array([row[at] for row in drawn], dtype=float) for at in range(3))
    known = np.array([np.nan if row[3] is None else row[3] for row in drawn])
    counts = matured(block + 1 + 2, known, as_of)
    return Blocks.of(block[counts], d[counts], label[counts])


@given(rows, st.floats(0, 9), st.floats(0, 9))
def test_later_looks_and_later_labels_never_change_past_increments(
    drawn: list[tuple[int, float, int, float | None]], one: float, other: float
) -> None:
    early, late = sorted([one, other])
    known_then = [row if row[3] is not None and row[3] <= early else (*row[:3], None) for row in drawn]
    before, after = blocks_at(known_then, early), blocks_at(drawn, late)
    assert after.ids[: len(before.ids)] == before.ids
    assert (after.difference[: len(before.ids)] == before.difference).all()


def test_a_row_counts_when_its_window_ends_and_a_late_label_never() -> None:
    known = [0.0, 1.9, 2.1, np.nan]
    assert matured([2.0] * 4, known, as_of=1.99).tolist() == [False] * 4
    assert matured([2.0] * 4, known, as_of=9.0).tolist() == [True, True, False, False]


def test_blocks_hold_means_and_counts() -> None:
    blocks = Blocks.of(["b", "a", "b"], [0.1, 0.2, 0.3], [1, 0, 1])
    assert blocks.ids == ("a", "b") and blocks.difference == pytest.approx([0.2, 0.2])
    assert blocks.rows.tolist() == [1, 2] and blocks.positives.tolist() == [0, 2]
    assert Blocks.of([], [], []).ids == ()


def test_blocks_are_in_the_order_in_which_they_closed() -> None:
    blocks = Blocks.of(["a", "b", "c", "a"], [1.0, 2.0, 3.0, 5.0], [0, 1, 1, 0], closes=[9.0, 2.0, 2.0, 9.0])
    assert blocks.ids == ("b", "c", "a") and blocks.difference.tolist() == [2.0, 3.0, 3.0]
    assert blocks.rows.tolist() == [1, 1, 2] and blocks.positives.tolist() == [1, 1, 0]


def test_evidence_cannot_be_altered() -> None:
    evidence = Evidence(0.15, Exposure(0, 0, 0, 0, 0), differences=np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        evidence.differences[0] = 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Blocks(("a", "a"), np.zeros(2), np.ones(2, int), np.ones(2, int)),
        lambda: Blocks(("a",), np.zeros(2), np.ones(2, int), np.ones(2, int)),
        lambda: Events(np.array([1.2]), np.array([True])),
        lambda: Events(np.array([np.nan]), np.array([True])),
        lambda: Events(np.array([0.2]), np.array([], dtype=bool)),
        lambda: Exposure(0, 0, float("nan"), 0, 0),
        lambda: Exposure(-1, 0, 0, 0, 0),
        lambda: Evidence(0.15, Exposure(0, 0, 0, 0, 0), trials=1, failures=2),
    ],
)
def test_impossible_evidence_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidInput):
        wrong()  # type: ignore[operator]
