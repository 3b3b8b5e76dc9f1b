"""The validate step over a store of its own, with Great Expectations itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import great_expectations.expectations as gxe
import pyarrow as pa
import pytest

from pipelines.context import Context
from pipelines.errors import CheckFailed, CorruptData, InvalidInput, MissingData
from pipelines.params import load_params
from pipelines.records import DecisionKind, Decisions
from pipelines.settings import Settings
from pipelines.usecase import DAY, RawTable
from pipelines.validation import chunks
from pipelines.validation.expectations import ExpectPresenceToImply
from pipelines.validation.masks import MASKS
from pipelines.validation.queries import ExpectKeysToBeUnique, ExpectValuesToBeKnown, Query
from pipelines.validation.validate import Inputs, run
from tests.conftest import tree_hashes

START, MIDDLE, END = date(2020, 1, 1), date(2020, 1, 2), date(2020, 1, 3)
WINDOW = Inputs(start=START, end=END)
METERS = RawTable("readings", ("meter",), {"meter": "string", "load": "float32"}, day=DAY)
SITES = RawTable("sites", ("site",), {"site": "string"})


def readings(day: date, values: list[float | None], meters: list[str] | None = None) -> pa.Table:
    meters = meters or [f"m{n}" for n in range(len(values))]
    return pa.table(
        {
            DAY: pa.array([day] * len(values), pa.date32()),
            "meter": pa.array(meters, pa.string()),
            "load": pa.array(values, pa.float32()),
        }
    )


def expectations(table: RawTable) -> list[Any]:
    if table.name == "sites":
        return [gxe.ExpectColumnValuesToBeUnique(column="site")]
    return [
        gxe.ExpectColumnValuesToNotBeNull(column="meter"),
        gxe.ExpectColumnValuesToBeBetween(
            column="load", min_value=0, meta={"severity": "quarantine", "reason": "negative"}
        ),
        gxe.ExpectColumnValuesToNotBeNull(column="load", meta={"severity": "quarantine", "reason": "no_load"}),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=[DAY, "meter"], meta={"severity": "quarantine", "reason": "twice"}
        ),
        gxe.ExpectColumnMaxToBeBetween(column="load", max_value=100, meta={"severity": "warning", "reason": "high"}),
    ]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Context]:
    def context(
        declared: Callable[[RawTable], list[Any]] = expectations,
        max_share: float = 0.5,
        required: bool = True,
        floor: int = 1,
    ) -> Context:
        params = load_params(Path(__file__).parents[2] / "params.yaml")
        usecase: Any = SimpleNamespace(name="meters", timezone="UTC", start=START, end=END, expectations=declared)
        usecase.tables = (replace(METERS, required=required), SITES)
        bars = {"max_quarantine_share": max_share, "quarantine_floor_rows": floor}
        validation = params.validation.model_copy(update=bars)
        made = Context(Settings(home=tmp_path), params.model_copy(update={"validation": validation}), usecase)
        made.data.store.write_table(made.data.partition("raw", "sites", None), pa.table({"site": ["a", "b"]}))
        put(made, readings(START, [1.0, 2.0, 3.0]), START)
        put(made, readings(MIDDLE, [1.0, 2.0, 3.0]), MIDDLE)
        return made

    return context


def put(context: Context, table: pa.Table, day: date) -> None:
    context.data.store.write_table(context.data.partition("raw", "readings", day), table)


def read(context: Context, zone: str, day: date | None, table: str = "readings") -> dict[str, list[Any]]:
    rows = context.data.store.read_table(context.data.partition(zone, table, day)).to_pydict()
    return {name: values for name, values in rows.items()}


def report(context: Context) -> Any:
    return context.data.store.read_json(context.data.uri("reports", "validation", f"{START}_{END}.json"))


def test_bad_rows_are_set_apart_with_every_reason_and_clean_rows_go_on(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(MIDDLE, [-1.0, None, 5.0, -6.0, 7.0, 0.0, 1.0, 2.0], [*"abcddefg"]), MIDDLE)
    outputs = run(WINDOW, context)
    assert outputs.verdict == "PASS"
    assert outputs.rows == {"readings": 7, "sites": 2}
    assert outputs.quarantined == {"readings": {"negative": 2, "no_load": 1, "twice": 2}, "sites": {}}
    assert read(context, "validated", MIDDLE)["meter"] == [*"cefg"]
    bad = read(context, "quarantine", MIDDLE)
    assert dict(zip(zip(bad["meter"], bad["load"], strict=True), bad["reason"], strict=True)) == {
        ("a", -1.0): "negative",
        ("b", None): "no_load",
        ("d", -6.0): "negative,twice",
        ("d", 7.0): "twice",
    }
    assert context.data.days("quarantine", "readings") == [MIDDLE]
    assert read(context, "validated", None, "sites") == {"site": ["a", "b"]}
    decision = context.decisions.get(outputs.decision_id)
    assert decision and decision["verdict"] == "PASS" and decision["kind"] == "validate"


def test_a_rerun_on_mended_data_leaves_no_old_quarantine_and_the_same_bytes(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(MIDDLE, [-1.0, 1.0, 2.0]), MIDDLE)
    run(WINDOW, context)
    assert context.data.days("quarantine", "readings") == [MIDDLE]
    put(context, readings(MIDDLE, [1.0, 1.0, 2.0]), MIDDLE)
    first = run(WINDOW, context)
    uri = context.data.partition("validated", "readings", MIDDLE)
    before = context.data.store.read_bytes(uri)
    assert context.data.days("quarantine", "readings") == []
    assert run(WINDOW, context) == first
    assert context.data.store.read_bytes(uri) == before
    assert len(context.decisions.all(DecisionKind.VALIDATE)) == 2  # what was decided on the bad data stays known


def test_a_day_without_rows_still_has_a_partition_of_the_same_schema(make: Callable[..., Context]) -> None:
    context = make(required=False)
    put(context, readings(MIDDLE, []), MIDDLE)
    assert "readings has no rows on 1 days" in run(WINDOW, context).reasons[0]
    empty = context.data.store.read_table(context.data.partition("validated", "readings", MIDDLE))
    assert empty.num_rows == 0
    assert empty.schema == context.data.store.read_table(context.data.partition("raw", "readings", START)).schema


def test_a_warning_is_told_and_stops_nothing(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(MIDDLE, [1000.0]), MIDDLE)
    outputs = run(WINDOW, context)
    assert outputs.verdict == "PASS"
    assert len(outputs.reasons) == 1 and "high" in outputs.reasons[0] and "1000" in outputs.reasons[0]


def critical_failure(context: Context) -> None:
    put(context, readings(MIDDLE, [1.0, 2.0], ["a", None]), MIDDLE)


def empty_table(context: Context) -> None:
    for day in (START, MIDDLE):
        put(context, readings(day, []), day)


def too_many_bad(context: Context) -> None:
    put(context, readings(MIDDLE, [-1.0] * 5), MIDDLE)


def lost_column(context: Context) -> None:
    for day in (START, MIDDLE):
        put(context, readings(day, [1.0]).drop_columns(["load"]), day)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (critical_failure, "readings: expect_column_values_to_not_be_null.*'unexpected_count': 1"),
        (empty_table, "readings has no rows"),
        (
            too_many_bad,
            r"on 2020-01-02: 100.00% of 5 rows would be quarantined \(negative 5\).*look at the source",
        ),
        (lost_column, "could not be evaluated"),
    ],
)
def test_what_cannot_be_trusted_is_rejected_and_not_written(
    make: Callable[..., Context], break_it: Callable[[Context], None], message: str
) -> None:
    context = make()
    break_it(context)
    with pytest.raises(CheckFailed, match=message):
        run(WINDOW, context)
    assert context.data.days("validated", "readings") == []
    assert not context.data.store.exists(context.data.partition("validated", "sites", None))
    assert [d["verdict"] for d in context.decisions.all(DecisionKind.VALIDATE)] == ["REJECT"]
    assert report(context)["verdict"] == "REJECT"
    assert report(context)["tables"]["readings"]["rejections"]


def test_a_table_without_expectations_is_rejected(make: Callable[..., Context]) -> None:
    context = make(declared=lambda table: [] if table is SITES else expectations(table))
    with pytest.raises(CheckFailed, match="sites has no expectations"):
        run(WINDOW, context)


def test_a_quarantine_that_names_no_rows_is_an_invalid_declaration(make: Callable[..., Context]) -> None:
    mean = gxe.ExpectColumnMeanToBeBetween(column="load", min_value=0, meta={"severity": "quarantine"})
    with pytest.raises(InvalidInput, match="cannot quarantine rows"):
        run(WINDOW, make(declared=lambda table: [mean]))


def test_the_report_holds_every_result(make: Callable[..., Context]) -> None:
    context = make()
    run(WINDOW, context)
    tables = report(context)["tables"]
    assert [len(tables[name]["expectations"]) for name in ("readings", "sites")] == [5, 1]
    assert all(result["success"] for name in tables for result in tables[name]["expectations"])
    assert tables["readings"]["expectations"][0]["observed"]["element_count"] == 6


def test_rows_of_another_day_are_refused(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(date(2019, 12, 31), [1.0]), MIDDLE)
    with pytest.raises(CorruptData, match=f"raw/readings/2020-01-02: 1 rows have another {DAY}"):
        run(WINDOW, context)


def test_a_day_that_was_not_ingested_is_named(make: Callable[..., Context]) -> None:
    context = make()
    context.data.store.delete(context.data.partition("raw", "readings", MIDDLE))
    with pytest.raises(MissingData, match="2020-01-02"):
        run(WINDOW, context)


def twice_across(table: RawTable) -> list[Any]:
    if table.name == "sites":
        return expectations(table)
    unique = ExpectKeysToBeUnique(column_list=["meter"], within_days=1, meta={**APART, "reason": "again"})
    return [*expectations(table)[:3], unique]


def parts(home: Path) -> dict[str, str]:
    return {path: sha for path, sha in tree_hashes(home / "data" / "meters").items() if not path.startswith("reports")}


APART = {"severity": "quarantine"}


def test_a_reference_row_that_is_set_apart_vouches_for_nothing(make: Callable[..., Context]) -> None:
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
    assert context.data.days("validated", "readings") == []


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


class ExpectToRaise(Query):
    """Raises while Great Expectations judges it."""

    def sql(self) -> str:
        return "select 1 as n"

    def judge(self, answer: Any) -> Any:
        raise ZeroDivisionError("a mistake")


class ExpectTheImpossible(ExpectToRaise):
    def sql(self) -> str:
        return "select nothing from nowhere"


@pytest.mark.parametrize("severity", ["critical", "warning"])
@pytest.mark.parametrize(
    ("check", "message"),
    [
        (ExpectToRaise, "a mistake"),
        (ExpectTheImpossible, "nowhere"),
        (lambda meta: ExpectValuesToBeKnown(column="meter", table="gone", known_in="site", meta=meta), "gone"),
        (lambda meta: ExpectValuesToBeKnown(column="lost", table="sites", known_in="site", meta=meta), "lost"),
        (lambda meta: ExpectPresenceToImply(column_list=["meter", "lost"], meta=meta), "lost"),
    ],
    ids=["raises", "no such view", "no such table", "no such column", "no such column in a chunk"],
)
def test_what_could_not_be_judged_is_a_failure(
    make: Callable[..., Context], check: Any, message: str, severity: str
) -> None:
    context = make(
        declared=lambda table: [
            *expectations(table),
            *([check(meta={"severity": severity})] if table.name == "readings" else []),
        ]
    )
    with pytest.raises(CheckFailed, match=f"could not be evaluated.*{message}"):
        run(WINDOW, context)
    assert context.data.days("validated", "readings") == []


def test_a_lost_reference_table_is_a_failure(make: Callable[..., Context]) -> None:
    context = make()
    context.data.store.delete(context.data.partition("raw", "sites", None))
    with pytest.raises(MissingData, match="sites"):
        run(WINDOW, context)


def test_a_partition_that_changes_while_it_is_validated_is_not_let_through(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make()
    write = Decisions.record

    def restate(self: Any, decision: Any) -> str:
        put(context, readings(MIDDLE, [-9.0, 1.0, 2.0]), MIDDLE)
        return write(self, decision)

    monkeypatch.setattr(Decisions, "record", restate)
    with pytest.raises(CorruptData, match="raw/readings of 2020-01-02 changed while it was validated; run again"):
        run(WINDOW, context)


def test_a_mask_that_disagrees_is_a_rejection(make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        MASKS, "expect_column_values_to_not_be_null", lambda frame, kwargs: frame["load"].notna().to_numpy()
    )
    with pytest.raises(CheckFailed, match="the quarantine mask finds 6 bad rows and Great Expectations 0"):
        run(WINDOW, make())


def test_what_a_chunk_cannot_tell_is_refused(make: Callable[..., Context]) -> None:
    for check in (gxe.ExpectTableRowCountToBeBetween(min_value=1), gxe.ExpectColumnValuesToBeUnique(column="meter")):
        with pytest.raises(InvalidInput, match="sees only a part of a daily table; use Expect"):
            run(WINDOW, make(declared=lambda table, check=check: [check]))


def pages(context: Context) -> dict[str, str]:
    folder = context.data.uri("reports", "validation", f"{START}_{END}")
    return {
        name: context.data.store.read_bytes(f"{folder}/{name}").decode() for name in context.data.store.names(folder)
    }


def test_data_docs_say_what_was_expected_and_seen(make: Callable[..., Context]) -> None:
    context = make()
    put(context, readings(MIDDLE, [-1.0, 1.0, 2.0, 3.0], ["<script>alert(1)</script>", *"abc"]), MIDDLE)
    outputs = run(WINDOW, context)
    told = pages(context)
    assert set(told) == {"index.html", "readings.html", "sites.html"}
    assert outputs.data_docs_uri.endswith(f"reports/validation/{START}_{END}/index.html")
    assert 'href="readings.html"' in told["index.html"] and "negative 1" in told["index.html"]
    assert "quarantine (negative): expect_column_values_to_be_between" in told["readings.html"]
    assert "1 unexpected values found" in told["readings.html"]
    for text in told.values():
        assert "<script" not in text and not re.search(r"(src|href)=\"?https?:", text)  # nothing is loaded or run
    run(WINDOW, context)
    assert pages(context) == told


@pytest.mark.parametrize("declared", [twice_across, lambda table: [ExpectToRaise(), ExpectTheImpossible()]])
def test_a_rejected_window_has_data_docs_too(make: Callable[..., Context], declared: Any) -> None:
    context = make(declared=declared)
    put(context, readings(MIDDLE, [-1.0] * 4), MIDDLE)
    with pytest.raises(CheckFailed):
        run(WINDOW, context)
    assert "REJECT" in pages(context)["index.html"] and "readings" in pages(context)["readings.html"]
    assert declared is twice_across or "raised an exception" in pages(context)["readings.html"]


def test_one_long_value_swells_no_report(make: Callable[..., Context]) -> None:
    like = gxe.ExpectColumnValuesToMatchRegex(column="meter", regex="^.{1,5}$", meta={**APART, "reason": "long"})
    context = make(declared=lambda table: [like] if table.name == "readings" else expectations(table))
    put(context, readings(MIDDLE, [1.0, 2.0, 3.0], ["x" * 1_000_000, "b", "c"]), MIDDLE)
    assert run(WINDOW, context).quarantined["readings"] == {"long": 1}
    assert sum(map(len, pages(context).values())) < 50_000
    assert read(context, "quarantine", MIDDLE)["meter"] == ["x" * 1_000_000]


def test_instants_that_nanoseconds_do_not_reach_are_judged_like_others(make: Callable[..., Context]) -> None:
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


def test_a_page_that_cannot_be_drawn_says_so_and_the_window_is_decided_on(
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


def test_a_value_that_stops_one_expectation_stops_no_other(
    make: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Great Expectations raises about one of them, all others are judged and the verdict is recorded."""
    from pipelines.validation import suite

    whole = suite._validate

    def fragile(frame: Any, asked: list[Any]) -> Any:
        if any(one.expectation_type == "expect_column_max_to_be_between" for one in asked):
            raise OverflowError("too large")
        return whole(frame, asked)

    monkeypatch.setattr(suite, "_validate", fragile)
    context = make()
    with pytest.raises(CheckFailed, match=r"expect_column_max.*could not be evaluated: OverflowError: too large"):
        run(WINDOW, context)
    (decision,) = context.decisions.all(DecisionKind.VALIDATE)
    assert decision["verdict"] == "REJECT"
    assert [one["error"] for one in report(context)["tables"]["readings"]["expectations"]].count(None) == 4
