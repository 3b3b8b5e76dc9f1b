"""Windows are read in chunks and judged as a whole, and the breaker looks at each day."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import great_expectations.expectations as gxe
import pyarrow as pa
import pytest

from pipelines.context import Context
from pipelines.errors import CheckFailed
from pipelines.usecase import RawTable
from pipelines.validation import chunks
from pipelines.validation.queries import ExpectValuesToBeKnown
from pipelines.validation.validate import Inputs, run
from tests.conftest import tree_hashes
from tests.steps.validation.meters import (
    APART,
    END,
    MIDDLE,
    START,
    WINDOW,
    expectations,
    put,
    read,
    readings,
    report,
    twice_across,
)


def parts(home: Path) -> dict[str, str]:
    return {path: sha for path, sha in tree_hashes(home / "data" / "meters").items() if not path.startswith("reports")}


def test_a_quarantined_reference_row_makes_no_value_known(make: Callable[..., Context]) -> None:
    def declared(table: RawTable) -> list[Any]:
        if table.name == "sites":
            return [gxe.ExpectColumnValuesToMatchRegex(column="site", regex="^m", meta={**APART, "reason": "odd"})]
        known = ExpectValuesToBeKnown(
            column="meter", table="sites", known_in="site", meta={**APART, "reason": "unknown"}
        )
        return [known]

    context = make(declared)
    context.data.store.write_table(
        context.data.partition("raw", "sites", None), pa.table({"site": ["m0", "x", "m1", "m2"]})
    )
    put(context, readings(MIDDLE, [1.0, 2.0, 3.0], ["m0", "x", "m2"]), MIDDLE)
    assert run(WINDOW, context).quarantined == {"sites": {"odd": 1}, "readings": {"unknown": 1}}
    assert read(context, "quarantine", MIDDLE)["meter"] == ["x"]


@pytest.mark.parametrize("rows", [1, 3, 4, 1000])
def test_chunks_of_any_size_give_the_same_bytes(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: int
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", rows)
    context = make(declared=twice_across)
    put(context, readings(START, [1.0, -2.0, 3.0, 4.0], [*"abcd"]), START)
    put(context, readings(MIDDLE, [1.0, 2.0, 3.0, 4.0, None], [*"efgba"]), MIDDLE)
    outputs = run(WINDOW, context)
    assert outputs.quarantined["readings"] == {"again": 2, "negative": 1, "no_load": 1}
    written = parts(tmp_path)
    bad = read(context, "quarantine", MIDDLE)
    assert dict(zip(bad["meter"], bad["reason"], strict=True)) == {"b": "again", "a": "no_load,again"}
    assert len(written) == 8
    seen = [r["observed"]["element_count"] for r in report(context)["tables"]["readings"]["expectations"]]
    assert seen == [9, 9, 9, 9]
    for day, after in ((START, MIDDLE), (MIDDLE, END)):  # and a day at a time
        run(Inputs(start=day, end=after), context)
    assert parts(tmp_path) == written


@pytest.mark.parametrize(
    ("share", "floor", "bad", "passes"),
    [(0.2, 0, 2, True), (0.2, 0, 3, False), (0.0, 3, 3, True), (0.0, 3, 4, False), (1.0, 99, 10, False)],
    ids=["share met", "share passed", "floor met", "floor passed", "nothing left"],
)
def test_the_breaker_looks_at_each_day(
    make: Callable[..., Context], share: float, floor: int, bad: int, passes: bool
) -> None:
    context = make(max_share=share, floor=floor)
    put(context, readings(START, [1.0] * 90), START)  # a large clean day must not hide a bad one
    put(context, readings(MIDDLE, [-1.0] * bad + [1.0] * (10 - bad)), MIDDLE)
    if passes:
        assert run(WINDOW, context).rows["readings"] == 100 - bad
        return
    with pytest.raises(CheckFailed, match=rf"readings on 2020-01-02: {bad * 10}.00% of 10 rows.*negative {bad}"):
        run(WINDOW, context)
    assert context.data.periods("validated", "readings") == []


def test_counts_are_added_before_mostly_is_judged(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One day of three is half bad: over both days it is little."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 1)
    check = gxe.ExpectColumnValuesToBeBetween(
        column="load", min_value=0, mostly=0.6, meta={**APART, "reason": "negative"}
    )
    context = make(declared=lambda table: [check] if table.name == "readings" else expectations(table))
    put(context, readings(MIDDLE, [-1.0, -2.0, 3.0]), MIDDLE)
    assert run(WINDOW, context).quarantined["readings"] == {}
    (result,) = report(context)["tables"]["readings"]["expectations"]
    assert (result["observed"]["element_count"], result["observed"]["unexpected_count"]) == (6, 2)
