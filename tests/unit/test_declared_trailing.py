"""Declared trailing features against a loop over events, for any measure, grid, window and cut of the days."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.declare.build import build_trailing
from pipelines.declare.events import (
    Events,
    Measure,
    count,
    deviation,
    distinct,
    last,
    last_at,
    least,
    mean,
    most,
    share,
    since_last,
    total,
)
from pipelines.declare.over import Active, Level, Over, Trailing, trailing, window_name
from pipelines.errors import CorruptData, InvalidInput
from pipelines.instants import local_day
from pipelines.windows import Window
from tests.examples import costly

ZONE = "America/New_York"
WINDOW = Window(date(2013, 3, 8), date(2013, 3, 14), ZONE)  # clocks are set forward on the 10th
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
BEGIN = datetime(2013, 3, 3, 5, tzinfo=UTC)  # a midnight in New York
SOLD = Events("sales", "sold_at", delay=5 * MINUTE, where="not cancelled", late=2 * DAY)
MEASURES = {
    "n": count(),
    "pieces": total("pieces"),
    "price": total("price", decimals=2),
    "weight": total("weight"),
    "mean": mean("price", decimals=2),
    "float_mean": mean("weight"),
    "large": share("pieces > 2"),
    "least": least("price"),
    "most": most("pieces"),
    "spread": deviation("weight"),
    "kinds": distinct("kind"),
    "last": last("pieces"),
    "lag": last("price", back=2),
    "at": last_at(),
}
Sale = dict[str, Any]
SALES = st.lists(
    st.builds(
        lambda shop, minutes, **values: {"shop": shop, "sold_at": BEGIN + timedelta(minutes=minutes), **values},
        shop=st.sampled_from(["a", "b", "c", None]),
        minutes=st.one_of(st.integers(0, 11 * 1440), st.sampled_from([5 * 1440, 6 * 1440 - 5, 7 * 1440 - 65])),
        pieces=st.one_of(st.none(), st.integers(-4, 4)),
        price=st.one_of(st.none(), st.sampled_from([19.99, 0.1, 0.2, 5.0, -3.35])),
        weight=st.one_of(st.none(), st.floats(-1e3, 1e3, width=32)),
        kind=st.sampled_from(["x", "y", "z", None]),
        cancelled=st.sampled_from([False, False, False, True]),
    ),
    max_size=25,
)
SCHEMA = pa.schema(
    [
        ("shop", pa.string()),
        ("sold_at", pa.timestamp("us", "UTC")),
        ("pieces", pa.int32()),
        ("price", pa.float64()),
        ("weight", pa.float64()),
        ("kind", pa.string()),
        ("cancelled", pa.bool_()),
        ("local_day", pa.date32()),
    ]
)


def tables(sales: Sequence[Sale], window: Window = WINDOW, lookback: int = 100) -> dict[str, pa.Table]:
    """The sales of a window and its lookback days, ordered by day as the chain reads them."""
    rows = [{**sale, "local_day": local_day(sale["sold_at"], ZONE)} for sale in sales]
    first = window.start - timedelta(lookback)
    rows = [row for row in rows if first <= row["local_day"] < window.end]
    return {"sales": pa.Table.from_pylist(sorted(rows, key=lambda row: row["local_day"]), schema=SCHEMA)}


def known_at(sale: Sale) -> datetime:
    instant: datetime = sale["sold_at"] + SOLD.delay
    return instant


def expected(measure: Measure, events: list[Sale], at: datetime, most: int | None) -> float | datetime | None:
    """The value of a measure over a window's events in order of knowledge time, or over the last `most` of them."""
    column = {"pieces > 2": "pieces"}.get(measure.of or "", measure.of)
    if column:
        events = [event for event in events if event[column] is not None]
    events = events[-most:] if most else events
    values = [event[column] for event in events] if column else []
    match measure.kind:
        case "count":
            return len(events)
        case "sum":
            return math.fsum(values)
        case "mean":
            return math.fsum(values) / len(values) if values else None
        case "share":
            return sum(value > 2 for value in values) / len(values) if values else None
        case "min":
            return min(values, default=None)
        case "max":
            return max(values, default=None)
        case "std":
            return float(np.std(values, ddof=1)) if len(values) > 1 else None
        case "distinct":
            return len(set(values))
        case "last":
            return values[-1 - measure.back] if len(values) > measure.back else None
        case "since_last":
            return (at - events[-1]["sold_at"]) / measure.unit if events else None
    return events[-1]["sold_at"] if events else None


def window_of(view: Trailing, part: Over, window: Any, at: datetime, sales: Sequence[Sale]) -> list[Sale]:
    """The events in the window that ends at an instant, in order."""
    span = window if isinstance(window, timedelta) else part.within
    assert span is not None
    strict = view.every == DAY
    if strict:  # a number of local days, whatever their length
        day = local_day(at, ZONE) - span
        begin = datetime(day.year, day.month, day.day, tzinfo=None)
        inside = [s for s in sales if known_at(s) < at and _local(known_at(s)) >= begin]
    else:
        inside = [s for s in sales if at - span < known_at(s) <= at]
    inside.sort(key=known_at)
    return inside


def _local(instant: datetime) -> datetime:
    from zoneinfo import ZoneInfo

    return instant.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None)


def check(view: Trailing, sales: Sequence[Sale]) -> pa.Table:
    """Check every row of a view against a loop over the events of its window."""
    counted = [sale for sale in sales if sale["shop"] is not None and not sale["cancelled"]]
    rows = build_trailing(view, tables(sales), WINDOW)
    assert rows.column_names == [*view.keys, "known_at", *view.names]
    for row in rows.to_pylist():
        own = [sale for sale in counted if sale["shop"] == row["shop"]]
        for part in view.parts:
            assert isinstance(part, Over)
            for name, window, measure in part.cells():
                inside = window_of(view, part, window, row["known_at"], own)
                wanted = expected(measure, inside, row["known_at"], window if isinstance(window, int) else None)
                if isinstance(wanted, datetime) or wanted is None:
                    assert row[name] == wanted, (name, row)
                else:
                    assert row[name] == pytest.approx(wanted, rel=2e-6, abs=2e-4), (name, row)
    return rows


def one_order(sales: list[Sale]) -> list[Sale]:
    """Without two sales of a shop at one instant, whose order is undefined."""
    return [*{(sale["shop"], sale["sold_at"]): sale for sale in sales}.values()]


GRIDS: dict[str, Callable[[tuple[Over, ...]], Trailing]] = {
    "days": lambda parts: trailing("sales", ("shop",), *parts, every=DAY),
    "quarters": lambda parts: trailing("sales", ("shop",), *parts, every=15 * MINUTE),
    "instants": lambda parts: trailing("sales", ("shop",), *parts, every=None),
    "while": lambda parts: trailing("sales", ("shop",), *parts, every=DAY, rows="window"),
    "active": lambda parts: trailing("sales", ("shop",), *parts, every=HOUR, rows=Active(SOLD, 2)),
}


@costly()
@pytest.mark.parametrize("grid", GRIDS)
@given(sales=SALES.map(one_order), days=st.sampled_from([(1, 2), (3,)]), most_of=st.integers(1, 4))
def test_every_value_equals_a_loop_over_the_events_of_its_window(
    grid: str, sales: list[Sale], days: tuple[int, ...], most_of: int
) -> None:
    view = GRIDS[grid]((Over(SOLD, MEASURES, (*(n * DAY for n in days), most_of), within=2 * DAY),))
    check(view, sales)


@costly()
@given(sales=SALES.map(one_order), at=st.integers(0, 6 * 1440 - 1), every=st.sampled_from([DAY, 15 * MINUTE, None]))
def test_the_latest_row_is_correct_at_any_instant(sales: list[Sale], at: int, every: timedelta | None) -> None:
    """Between two rows of a shop no value changes, so views of changes need no further rows."""
    view = trailing("sales", ("shop",), Over(SOLD, {"n": count(), "at": last_at()}, (DAY, 3 * DAY)), every=every)
    rows = check(view, sales).to_pylist()
    instant = WINDOW.start_at + timedelta(minutes=at)
    if every == DAY:
        day = local_day(instant, ZONE)
        instant = Window(day, day + DAY, ZONE).start_at
    elif every:
        instant -= (instant - BEGIN) % every
    for shop in "abc":
        own = [sale for sale in sales if sale["shop"] == shop and not sale["cancelled"]]
        newest = max(
            (row for row in rows if row["shop"] == shop and row["known_at"] <= instant), default=None, key=by_known
        )
        if newest is None:  # no change since the window began, so it has no row here
            continue
        for days in (1, 3):
            inside = window_of(view, next(iter(view.parts)), days * DAY, instant, own)  # type: ignore[arg-type]
            assert newest[f"n_{days}d"] == len(inside)


def by_known(row: dict[str, Any]) -> Any:
    return row["known_at"]


@costly()
@given(
    sales=SALES, cuts=st.sets(st.integers(1, 5)), every=st.sampled_from([DAY, 15 * MINUTE, None]), dense=st.booleans()
)
def test_days_have_the_same_bytes_however_they_are_cut(
    sales: list[Sale], cuts: set[int], every: timedelta | None, dense: bool
) -> None:
    over = Over(SOLD, MEASURES, (DAY, 2 * DAY, 2), within=2 * DAY)
    view = trailing("sales", ("shop",), over, every=every, rows="window" if dense and every else "changes")
    whole = build_trailing(view, tables(sales), WINDOW)
    bounds = [WINDOW.start, *(WINDOW.start + timedelta(n) for n in sorted(cuts)), WINDOW.end]
    pieces = [Window(a, b, ZONE) for a, b in pairwise(bounds)]
    parts = [build_trailing(view, tables(sales, piece, view.lookback_days), piece) for piece in pieces]
    assert pa.concat_tables(parts).combine_chunks().equals(whole.combine_chunks())


def test_sparse_and_dense_streams_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    sales = [*_random_sales(draw, 300)]
    view = GRIDS["quarters"]((Over(SOLD, MEASURES, (DAY, 3), within=2 * DAY),))
    dense = build_trailing(view, tables(sales), WINDOW)
    monkeypatch.setattr("pipelines.declare.streams.DENSE", 0)
    monkeypatch.setattr("pipelines.declare.streams.CHUNK", 7)
    assert len(dense) > 300 and build_trailing(view, tables(sales), WINDOW).equals(dense)


def _random_sales(draw: np.random.Generator, number: int) -> Iterator[Sale]:
    for n in range(number):
        yield {
            "shop": "abcdefgh"[int(draw.integers(8))],
            "sold_at": BEGIN + timedelta(minutes=n * 45),
            "pieces": int(draw.integers(-4, 5)),
            "price": float(draw.integers(0, 2000)) / 100,
            "weight": float(draw.normal()),
            "kind": "xyz"[int(draw.integers(3))],
            "cancelled": False,
        }


@costly()
@given(sales=SALES, hours=st.integers(1, 40), every=st.sampled_from([15 * MINUTE, None]))
def test_a_level_counts_open_rows(sales: list[Sale], hours: int, every: timedelta | None) -> None:
    level = Level("open", "sales", "sold_at", f"sold_at + interval {hours} hour", longest=3 * DAY)
    rows = build_trailing(trailing("sales", ("shop",), level, every=every), tables(sales), WINDOW)
    for row in rows.to_pylist():
        begun = [s for s in sales if s["shop"] == row["shop"]]
        assert row["open"] == sum(s["sold_at"] <= row["known_at"] < s["sold_at"] + hours * HOUR for s in begun)


def test_money_is_summed_to_the_cent() -> None:
    sales = [
        {"shop": "a", "sold_at": BEGIN + timedelta(days=5, seconds=n), "price": 19.99, "cancelled": False}
        for n in range(1000)
    ]
    view = trailing("sales", ("shop",), Over(SOLD, {"spent": total("price", decimals=2), "n": count()}, (DAY,)))
    first = build_trailing(view, tables(sales), WINDOW).to_pylist()[0]
    assert first["spent_1d"] == np.float32(19990) and first["n_1d"] == 1000
    decimal = tables(sales)["sales"]
    decimal = decimal.set_column(3, "price", decimal["price"].cast(pa.decimal128(20, 2)))
    view = trailing("sales", ("shop",), Over(SOLD, {"spent": total("price"), "n": count()}, (DAY,)))
    assert build_trailing(view, {"sales": decimal}, WINDOW).to_pylist()[0] == first, (
        "a decimal column is exact as it is"
    )


def test_the_time_since_the_last_event_on_a_grid() -> None:
    sales = [{"shop": "a", "sold_at": BEGIN + timedelta(days=6, minutes=7), "cancelled": False}]
    over = Over(SOLD, {"hours": since_last(HOUR)}, within=DAY)
    view = trailing("sales", ("shop",), over, every=15 * MINUTE, rows="window")
    rows = build_trailing(view, tables(sales), WINDOW).to_pylist()
    assert len(rows) == 96 and rows[0]["hours"] == np.float32(8 / 60) and rows[4]["hours"] == np.float32(68 / 60)
    assert view.ttl == 30 * MINUTE and view.names == ("hours",)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Over(SOLD, {"n": count()}, (3,)), "need `within`"),
        (lambda: Over(SOLD, {"n": count()}), "need `within`"),
        (lambda: Over(SOLD, {"n": count()}, DAY), r"give a tuple such as \(14 \* DAY,\)"),  # type: ignore[arg-type]
        (lambda: trailing("v", ("shop",), Over(SOLD, {"n": since_last()}, (DAY,))), "changes all the time"),
        (lambda: trailing("v", ("shop",), Over(SOLD, {"n": count()}, (HOUR,))), "no multiple of the grid"),
        (lambda: trailing("v", ("shop",), every=7 * MINUTE), "neither a day nor a part of an hour"),
        (lambda: trailing("v", ("shop",), every=None, rows="window"), "need a grid"),
        (lambda: trailing("v", (), Over(SOLD, {"n": count()}, (DAY,))), "no key"),
        (
            lambda: trailing("v", ("shop",), Over(SOLD, {"n": count()}, (DAY,)), Over(SOLD, {"n": count()}, (DAY,))),
            "two features have one name",
        ),
        (lambda: window_name(timedelta(seconds=90)), "no whole number of minutes"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(make: Callable[[], object], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        make()


@pytest.mark.parametrize(
    ("measure", "why"),
    [
        (total("no_such_column"), "no_such_column"),
        (total("kind"), "VARCHAR; declare an expression that is a number"),
        (mean("sold_at"), "TIMESTAMP WITH TIME ZONE"),
    ],
)
def test_an_unsupported_measure_is_named(measure: Measure, why: str) -> None:
    view = trailing("sales", ("shop",), Over(SOLD, {"n": measure}, (DAY,)))
    with pytest.raises(InvalidInput, match=why):
        build_trailing(view, tables([]), WINDOW)


def test_an_event_that_is_known_later_than_declared_stops_the_build() -> None:
    """Otherwise a row would depend on the cut of days."""
    late = {"shop": "a", "sold_at": BEGIN + timedelta(days=4), "cancelled": False}
    view = trailing("sales", ("shop",), Over(Events("sales", "sold_at", delay=DAY, late=HOUR), {"n": count()}, (DAY,)))
    with pytest.raises(CorruptData, match=r"1 events by sold_at are known more than 1:00:00 after .* a at 2013-03-08"):
        build_trailing(view, tables([late]), WINDOW)


def test_sums_that_may_overflow_are_refused() -> None:
    sales = [{"shop": "a", "sold_at": BEGIN + timedelta(days=6), "pieces": 2**30, "cancelled": False}]
    view = trailing("sales", ("shop",), Over(SOLD, {"n": total("pieces::bigint << 32")}, (DAY,)))
    with pytest.raises(CorruptData, match="too large for exact sums"):
        build_trailing(view, tables(sales * 2), WINDOW)
