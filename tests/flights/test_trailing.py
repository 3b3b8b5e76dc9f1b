"""Trailing sums by running sums, against a loop over events."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.usecases.flights.trailing import Entities, Slots, feature_rows, running_sums, trailing
from pipelines.windows import Window

WINDOW = Window(date(2013, 3, 10), date(2013, 3, 12), "America/New_York")  # the first day has 23 hours
EVENTS = st.tuples(st.sampled_from("abc"), st.integers(-3000, 3000), st.integers(-200, 200))


@given(events=st.lists(EVENTS, min_size=1, max_size=30), span=st.integers(1, 8), inclusive=st.booleans())
def test_a_window_holds_the_events_since_its_beginning(
    events: list[tuple[str, int, int]], span: int, inclusive: bool
) -> None:
    """Events before all slots and after them too; one at the very end of a slot counts in it, or in the next."""
    slots = Slots.of_minutes(WINDOW, 15, 8)
    assert len(slots) - slots.before == 47 * 4
    at = [WINDOW.start_at + timedelta(minutes=minutes) for _, minutes, _ in events]
    table = pa.table({"key": [key for key, _, _ in events], "at": pa.array(at, pa.timestamp("us", "UTC"))})
    entities = Entities.of(table, ["key"])
    placed = slots.of(table["at"]) if inclusive else slots.after(table["at"])
    shape = (len(entities.keys), len(slots))
    values = np.array([value for _, _, value in events])
    total = trailing(running_sums(entities.codes, placed, values, shape), span, slots.before)
    count = trailing(running_sums(entities.codes, placed, None, shape), span, slots.before)
    rows = feature_rows(entities, slots, count >= 0, [("n", count), ("mean", (total, count))]).to_pylist()
    assert [(row["known_at"], row["key"]) for row in rows] == sorted((row["known_at"], row["key"]) for row in rows)
    for row in rows[:: max(1, len(rows) // 40)]:
        begin, end = row["known_at"] - timedelta(minutes=15 * span), row["known_at"]
        inside = [
            value
            for (key, _, value), instant in zip(events, at, strict=True)
            if key == row["key"] and (begin < instant <= end if inclusive else begin <= instant < end)
        ]
        assert row["n"] == len(inside)
        assert row["mean"] == (np.float32(sum(inside) / len(inside)) if inside else None)


def test_a_slot_of_days_is_known_as_its_day_begins() -> None:
    slots = Slots.of_days(WINDOW, 2)
    known = [datetime.fromtimestamp(at / 1e6, UTC).isoformat() for at in slots.known_at.tolist()]
    assert known[1:3] == ["2013-03-09T05:00:00+00:00", "2013-03-10T05:00:00+00:00"]
    assert known[3] == "2013-03-11T04:00:00+00:00" and len(known) == 4 and slots.before == 2
