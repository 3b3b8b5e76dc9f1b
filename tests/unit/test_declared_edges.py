"""Edges of declared trailing features: long and short days, first events, many keys, rows that lose their day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.declare import Active, Events, Level, Over, Prepared, count, last, trailing
from pipelines.declare.build import build_trailing
from pipelines.declare.code import own_code
from pipelines.declare.entities import Entities
from pipelines.declare.rows import query
from pipelines.errors import InvalidInput
from pipelines.windows import Window
from tests.unit.test_declared_trailing import BEGIN, DAY, HOUR, MINUTE, SOLD, WINDOW, ZONE, tables


def test_rows_of_an_active_day_begin_with_its_first_event() -> None:
    """Before it nothing is known of the day: a row would reveal a coming event."""
    sales = [{"shop": "a", "sold_at": BEGIN + timedelta(days=5, hours=15, minutes=20), "cancelled": False}]
    over, active = Over(SOLD, {"n": count()}, (HOUR,)), Active(SOLD, 2)
    view = trailing("sales", ("shop",), over, every=HOUR, rows=active)
    rows = build_trailing(view, tables(sales), WINDOW).to_pylist()
    first = BEGIN + timedelta(days=5, hours=16)
    assert [row["known_at"] for row in rows] == [first + n * HOUR for n in range(8 + 24)] and rows[0]["n_1h"] == 1


def test_an_event_may_be_known_at_the_end_of_the_longest_day() -> None:
    """A day of 25 hours, as clocks are set back; the windows that count the event do not depend on the cut of days."""
    window = Window(date(2013, 11, 2), date(2013, 11, 8), ZONE)
    at = datetime(2013, 11, 4, 4, 30, tzinfo=UTC)  # 23:30 on the 3rd, which has 25 hours
    rows = {"shop": ["a"], "at": pa.array([at], pa.timestamp("us", "UTC")), "local_day": [date(2013, 11, 3)]}
    view = trailing("v", ("shop",), Over(Events("rows", '"at"'), {"n": count()}, (DAY,)), every=30 * MINUTE)
    result = build_trailing(view, {"rows": pa.table(rows)}, window).to_pylist()
    assert [(row["known_at"], row["n_1d"]) for row in result] == [(at, 1), (at + DAY, 0)]


def test_a_window_reaches_back_across_a_short_day() -> None:
    """The 10th of March has 23 hours: an event that leaves a window on the 11th may be from the 9th."""
    at = datetime(2013, 3, 10, 4, 59, tzinfo=UTC)  # 23:59 on the 9th
    sales = [{"shop": "a", "sold_at": at, "cancelled": False}]
    view = trailing("v", ("shop",), Over(Events("sales", "sold_at"), {"n": count()}, (23 * HOUR,)), every=30 * MINUTE)
    alone = Window(date(2013, 3, 11), date(2013, 3, 12), ZONE)
    whole = build_trailing(view, tables(sales), WINDOW).to_pylist()
    of_the_day = build_trailing(view, tables(sales, alone, view.lookback_days), alone).to_pylist()
    assert of_the_day == [row for row in whole if row["known_at"] >= alone.start_at] and of_the_day[0]["n_23h"] == 0


def test_entities_of_many_keys_are_distinguished() -> None:
    """Their combinations exceed the range of 64-bit integers."""
    draw = np.random.default_rng(3)
    keys = pa.table({f"k{n}": draw.permutation(20_000).astype(str) for n in range(5)})
    entities = Entities.of([keys.slice(0, 12_000), keys.slice(8_000)])
    in_order = keys.take(pc.sort_indices(keys, [(f"k{n}", "ascending") for n in range(5)]))
    assert len(entities) == 20_000 and entities.keys == in_order
    assert entities.keys.take(pa.array(entities.codes[1])) == keys.slice(8_000)
    with pytest.raises(InvalidInput, match="the keys k0 are of the types int64 and string; cast them to one"):
        Entities.of([pa.table({"k0": [1]}), pa.table({"k0": ["1"]})])


def test_prepared_rows_must_keep_their_local_day() -> None:
    lost = Prepared("lost", "select shop, sold_at from sales", ("sales",))
    view = trailing("v", ("shop",), Over(Events(lost, "sold_at"), {"n": count()}, (DAY,)))
    with pytest.raises(InvalidInput, match="lost has no local_day, by which rows of sales tell their period"):
        build_trailing(view, tables([]), WINDOW)


def test_a_query_may_not_return_local_times() -> None:
    with pytest.raises(InvalidInput, match=r"at of the query .* a local time without a zone.*::timestamptz"):
        query("select local_day + interval 1 hour as at from sales", tables([]), WINDOW)
    assert query("select (local_day + interval 1 hour)::timestamptz as at from sales", tables([]), WINDOW).num_rows == 0


def test_windows_that_look_ahead_or_are_empty_are_refused() -> None:
    with pytest.raises(InvalidInput, match="the delay is -1 day, 19:00:00; nothing is known before it happens"):
        Events("sales", "sold_at", delay=-5 * HOUR)
    with pytest.raises(InvalidInput, match="back is -1"):
        last("pieces", back=-1)
    for windows, within in (((0,), DAY), ((0 * DAY,), None), ((), 0 * DAY)):
        with pytest.raises(InvalidInput, match="one of them holds nothing"):
            Over(SOLD, {"n": count()}, windows, within)
    with pytest.raises(InvalidInput, match="1 day, 12:00:00 is no multiple of the grid"):
        trailing("v", ("shop",), Over(SOLD, {"n": count()}, within=36 * HOUR))
    level = Level("open", "sales", "sold_at", "sold_at", longest=DAY)
    with pytest.raises(InvalidInput, match="a Level has no window that ends"):
        trailing("v", ("shop",), level, every=HOUR, rows="window")


def test_the_code_of_a_builder_is_followed_into_its_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also functions that are called from outside of the package."""
    for name, text in {
        "__init__": "",
        "build": "def heat(tables, window):\n    from acme_code.parts import half\n    return half(tables)\n",
        "parts": "from acme_code import deep\ndef half(tables):\n    return deep.VALUE\n",
        "deep": "VALUE = 1\n",
        "request": "OTHER = 1\n",
    }.items():
        (tmp_path / "acme_code").mkdir(exist_ok=True)
        (tmp_path / "acme_code" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(own_code("acme_code.build")) == {f"acme_code.{name}" for name in ("build", "parts", "deep")} | {
        "acme_code"
    }
