"""The data docs of a window."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import great_expectations.expectations as gxe
import pyarrow as pa
import pytest

from pipelines.context import Context
from pipelines.errors import CheckFailed
from pipelines.validation.validate import run
from tests.steps.validation.meters import (
    APART,
    END,
    MIDDLE,
    START,
    WINDOW,
    ExpectTheImpossible,
    ExpectToRaise,
    expectations,
    pages,
    put,
    read,
    readings,
    twice_across,
)


def test_data_docs_show_expected_and_observed_values(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(MIDDLE, [-1.0, 1.0, 2.0, 3.0], ["<script>alert(1)</script>", *"abc"]), MIDDLE)
    outputs = run(WINDOW, context)
    page = pages(context)
    assert set(page) == {"index.html", "readings.html", "sites.html"}
    assert outputs.data_docs_uri.endswith(f"reports/validation/{START}_{END}/index.html")
    assert 'href="readings.html"' in page["index.html"] and "negative 1" in page["index.html"]
    assert "quarantine (negative): expect_column_values_to_be_between" in page["readings.html"]
    assert "1 unexpected values found" in page["readings.html"]
    for text in page.values():
        assert "<script" not in text and not re.search(r"(src|href)=\"?https?:", text)  # nothing is loaded or run
    run(WINDOW, context)
    assert pages(context) == page


@pytest.mark.parametrize("declared", [twice_across, lambda table: [ExpectToRaise(), ExpectTheImpossible()]])
def test_a_rejected_window_has_data_docs_too(make: Callable[..., Context], declared: Any) -> None:
    context = make(declared=declared)
    put(context, readings(MIDDLE, [-1.0] * 4), MIDDLE)
    with pytest.raises(CheckFailed):
        run(WINDOW, context)
    assert "REJECT" in pages(context)["index.html"] and "readings" in pages(context)["readings.html"]
    assert declared is twice_across or "raised an exception" in pages(context)["readings.html"]


def test_a_long_value_does_not_inflate_the_report(make: Callable[..., Context]) -> None:
    like = gxe.ExpectColumnValuesToMatchRegex(column="meter", regex="^.{1,5}$", meta={**APART, "reason": "long"})
    context = make(declared=lambda table: [like] if table.name == "readings" else expectations(table))
    put(context, readings(MIDDLE, [1.0, 2.0, 3.0], ["x" * 1_000_000, "b", "c"]), MIDDLE)
    assert run(WINDOW, context).quarantined["readings"] == {"long": 1}
    assert sum(map(len, pages(context).values())) < 50_000
    assert read(context, "quarantine", MIDDLE)["meter"] == ["x" * 1_000_000]


def test_instants_outside_the_range_of_nanoseconds_are_validated_like_others(make: Callable[..., Context]) -> None:
    """9999 and 1 are what sources write for "never": such a row is set apart, and its day is validated."""
    known = gxe.ExpectColumnValuesToBeBetween(
        column="seen",
        min_value=datetime(2000, 1, 1, tzinfo=UTC),
        max_value=datetime(2100, 1, 1, tzinfo=UTC),
        meta={**APART, "reason": "never"},
    )
    highest = gxe.ExpectColumnMaxToBeBetween(
        column="seen", max_value=datetime(2100, 1, 1, tzinfo=UTC), meta={"severity": "warning", "reason": "high"}
    )
    context = make(declared=lambda t: [known, highest] if t.name == "readings" else expectations(t), max_share=0.9)
    seen = [datetime(9999, 12, 31, 23, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)]
    for day in (START, MIDDLE):
        times = pa.array(seen if day == MIDDLE else seen[2:] * 3, pa.timestamp("us", "UTC"))
        put(context, readings(day, [1.0, 2.0, 3.0]).append_column("seen", times), day)
    outputs = run(WINDOW, context)
    assert outputs.verdict == "PASS" and outputs.quarantined["readings"] == {"never": 2}
    assert read(context, "quarantine", MIDDLE)["seen"] == seen[:2]
    assert "9999-12-31" in pages(context)["readings.html"]


def test_a_page_that_cannot_be_rendered_says_so_and_the_verdict_stands(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.validation import data_docs

    def broken(*_: Any) -> Any:
        raise OverflowError("no <picture>")

    monkeypatch.setattr(data_docs, "_document", broken)
    context = make()
    outputs = run(WINDOW, context)
    assert context.decisions.get(outputs.decision_id) and outputs.verdict == "PASS"
    assert "no &lt;picture&gt;" in pages(context)["readings.html"] and "readings" in pages(context)["index.html"]
