"""Columns of instants: from text, between zones, and their local days, by the zone's rules in any year.

All arithmetic is on whole numbers and rounds down, towards the past: Arrow's own casts round towards zero, and its
zones know no summer time after 2037.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.instants import EPOCH, Ambiguous, local

INSTANT = pa.timestamp("us", "UTC")  # of the chain's own columns
IN_ARROW: dict[Ambiguous, str] = {"refuse": "raise", "first": "earliest", "second": "latest"}
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
OFFSET = r"[+-](?:[01]\d|2[0-3])(?::?[0-5]\d(?::?[0-5]\d)?)?"
TEXT = (
    r"^(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<time>\d\d(?::\d\d(?::\d\d)?)?)(?:[.,](?P<fraction>\d{1,9}))? ?"
    r"(?P<zone>[Zz]|(?i:UTC|GMT)|" + OFFSET + r")?)?$"
)
DAY = 86_400
YEAR_1, YEAR_10000 = -62_135_596_800, 253_402_300_800  # seconds
BY_RULE = 2_114_380_800  # seconds: 2037, from when on Python tells the offset
FAR = 221_845_392_000  # seconds: the year 9000
CYCLE = 12_622_780_800  # seconds of 400 years, after which the calendar and its weeks repeat
NAT = np.iinfo(np.int64).min  # numpy's missing instant
QUARTER = 900  # seconds: clocks change at whole quarters of an hour
QUARTER_MICROS = QUARTER * 10**6
SPAN = 512  # quarters of an hour
FEW = 1024


class Mixed(ValueError):
    """Some instants have an offset from UTC and some have none."""


class Twice(pa.ArrowInvalid):  # type: ignore[misc]  # Arrow has no types
    """A local time that clocks show twice, as they are set back."""


def read(
    text: pa.ChunkedArray, wanted: pa.TimestampType, zone: str, ambiguous: Ambiguous = "refuse"
) -> pa.ChunkedArray:
    """ISO text as instants of a type.

    Args:
        text: without space around it.
        zone: of those without an offset.
        ambiguous: which instant one without an offset is that the zone's clocks show twice.

    Raises:
        Mixed: if some have an offset and some have none.
        Twice: if one names two instants of the zone, and `ambiguous` is "refuse".
        pa.ArrowInvalid: if one is no ISO text, names no instant of the zone, or is out of the type's range.
    """
    seconds, nanos, offsets = parse(text)
    if offsets is not None:
        seconds = pc.subtract(seconds, offsets)
    per = PER_SECOND[wanted.unit]
    ticks = pc.multiply_checked(seconds, per)
    if nanos is not None:
        ticks = pc.add_checked(ticks, pc.divide(nanos, 10**9 // per))
    return convert(ticks.cast(pa.timestamp(wanted.unit, None if offsets is None else "UTC")), wanted, zone, ambiguous)


def parse(text: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray | None, pa.ChunkedArray | None]:
    """Seconds as written, nanoseconds and the offset in seconds; of the last two None where no text has one."""
    fields = pc.extract_regex(text, TEXT)
    if fields.null_count > text.null_count:
        raise pa.ArrowInvalid("no date or instant in ISO form")
    day, time, fraction, zone = (pc.struct_field(fields, name) for name in ("day", "time", "fraction", "zone"))
    written = pc.utf8_rtrim(pc.binary_join_element_wise(day, time, "T"), "T")
    seconds = written.cast(pa.timestamp("s")).cast(pa.int64())
    nanos, has_fraction = None, pc.not_equal(fraction, "")
    if pc.any(has_fraction).as_py():
        if pc.any(pc.and_(has_fraction, pc.less(pc.utf8_length(time), len("00:00:00")))).as_py():
            raise pa.ArrowInvalid("a fraction of something else than seconds")
        nanos = pc.utf8_rpad(fraction, 9, "0").cast(pa.int64())
    zones = pc.unique(zone).drop_null()
    if not any(zones.to_pylist()):
        return seconds, nanos, None
    if "" in zones.to_pylist():
        raise Mixed("some have an offset from UTC and some have none")
    offsets = pa.array([_offset(one) for one in zones.to_pylist()], pa.int64())
    return seconds, nanos, pc.take(offsets, pc.index_in(zone, zones))


def _offset(zone: str) -> int:
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(6, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:])
    return -seconds if zone[0] == "-" else seconds


def convert(
    column: pa.ChunkedArray, wanted: pa.TimestampType, zone: str, ambiguous: Ambiguous = "refuse"
) -> pa.ChunkedArray:
    """Timestamps in another unit, rounded down. One without a zone, given or wanted, is a local time of `zone`.

    Args:
        ambiguous: which instant a local time is that clocks show twice.

    Raises:
        Twice: if one is two instants of the zone, and `ambiguous` is "refuse".
        pa.ArrowInvalid: if one is none in the zone, or lies out of the type's range.
    """
    have, want = PER_SECOND[column.type.unit], PER_SECOND[wanted.unit]
    ticks = column.cast(pa.int64())
    ticks = pc.multiply_checked(ticks, want // have) if want >= have else floor(ticks, have // want)
    if column.type.tz is None and wanted.tz is not None:
        ticks = _to_utc(ticks, wanted.unit, zone, ambiguous)
    elif column.type.tz is not None and wanted.tz is None:
        ticks = _to_local(ticks, wanted.unit, zone)
    first, last = (pc.min_max(ticks)[end].as_py() for end in ("min", "max"))
    if first is not None and not YEAR_1 * want <= first <= last < YEAR_10000 * want:
        raise pa.ArrowInvalid("not in the years 1 to 9999")
    return ticks.cast(wanted)


def local_day(column: pa.ChunkedArray, zone: str) -> pa.ChunkedArray:
    """The local day (date32) of dates, of instants in `zone`, or of timestamps without one as they are."""
    if pa.types.is_date32(column.type):
        return column
    if pa.types.is_date64(column.type):
        return floor(column.cast(pa.int64()), DAY * 1000).cast(pa.int32()).cast(pa.date32())
    ticks, unit = column.cast(pa.int64()), column.type.unit
    if column.type.tz is not None:
        ticks = _to_local(ticks, unit, zone)
    return floor(ticks, DAY * PER_SECOND[unit]).cast(pa.int32()).cast(pa.date32())


def local_times(at: NDArray[np.datetime64], zone: str) -> NDArray[np.datetime64]:
    """The time that clocks in a zone show: (N,) datetime64[us] of as many instants in UTC; NaT stays."""
    if len(at) <= FEW:  # Arrow takes as long for one as for thousands
        few = at.astype("datetime64[us]").view(np.int64).tolist()
        offsets = [0 if tick == NAT else _offset_within(tick // QUARTER_MICROS, zone) for tick in few]
        if None not in offsets:
            return np.array([*map(operator.add, few, offsets)], dtype=np.int64).view("datetime64[us]")
    return _local_times(at, zone)


def _offset_within(quarter: int, zone: str) -> int | None:
    return _offsets_within(quarter // SPAN, zone)[quarter % SPAN]


@lru_cache(maxsize=1024)
def _offsets_within(span: int, zone: str) -> list[int | None]:
    """Microseconds that clocks are ahead of UTC in each quarter of an hour of a span; None where they change within."""
    begins = np.arange(span * SPAN, (span + 1) * SPAN) * QUARTER_MICROS
    ends = np.column_stack([begins, begins + QUARTER_MICROS - 1]).ravel().view("datetime64[us]")
    offsets = (_local_times(ends, zone) - ends).view(np.int64).reshape(-1, 2).tolist()
    return [first if first == last else None for first, last in offsets]


def _local_times(at: NDArray[np.datetime64], zone: str) -> NDArray[np.datetime64]:
    ticks = pa.chunked_array([pa.array(at.astype("datetime64[us]").view(np.int64), mask=np.isnat(at))])
    clocks = pc.fill_null(_to_local(ticks, "us", zone), NAT)
    return clocks.to_numpy().view("datetime64[us]")  # type: ignore[no-any-return]


def floor(values: pa.ChunkedArray, by: int) -> pa.ChunkedArray:
    """Whole quotients, rounded down where Arrow's round towards zero."""
    quotient = pc.divide(values, by)
    below = pc.less(values, pc.multiply(quotient, by))
    return pc.subtract(quotient, below.cast(pa.int64()))


def _to_local(ticks: pa.ChunkedArray, unit: str, zone: str) -> pa.ChunkedArray:
    def known(early: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.local_timestamp(early.cast(pa.timestamp(unit, zone))).cast(pa.int64())

    def offset(seconds: int) -> int:
        return _seconds(local(EPOCH + timedelta(seconds=_in_reach(seconds)), zone))

    return _shifted(ticks, unit, known, offset)


def _to_utc(ticks: pa.ChunkedArray, unit: str, zone: str, ambiguous: Ambiguous) -> pa.ChunkedArray:
    def known(early: pa.ChunkedArray) -> pa.ChunkedArray:
        try:
            return pc.assume_timezone(early.cast(pa.timestamp(unit)), zone, ambiguous=IN_ARROW[ambiguous]).cast(
                pa.int64()
            )
        except pa.ArrowInvalid as error:  # Arrow has no error of its own for each of the two
            raise (Twice if "is ambiguous" in str(error) else pa.ArrowInvalid)(str(error)) from None

    def offset(seconds: int) -> int:
        clock = (EPOCH + timedelta(seconds=_in_reach(seconds))).replace(tzinfo=None)
        first = clock.replace(tzinfo=ZoneInfo(zone))
        second = first.replace(fold=1)
        if _seconds(first) == _seconds(second):
            return -_seconds(first)
        if first.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) != clock:
            raise pa.ArrowInvalid(f"Timestamp doesn't exist in timezone '{zone}': '{clock}'")
        if ambiguous == "refuse":
            raise Twice(f"Timestamp is ambiguous in timezone '{zone}': '{clock}'")
        return -_seconds(first if ambiguous == "first" else second)

    return _shifted(ticks, unit, known, offset)


def _shifted(
    ticks: pa.ChunkedArray,
    unit: str,
    known: Callable[[pa.ChunkedArray], pa.ChunkedArray],
    offset: Callable[[int], int],
) -> pa.ChunkedArray:
    """Ticks moved by an offset: as Arrow knows it, and from 2037 on as the zone's rule has it."""
    per = PER_SECOND[unit]
    late = pc.greater_equal(ticks, BY_RULE * per)
    if not pc.any(late).as_py():
        return known(ticks)
    quarters = pc.divide(ticks, QUARTER * per)
    each = pc.unique(pc.filter(quarters, late)).drop_null()
    offsets = pa.array([offset(one * QUARTER) * per for one in each.to_pylist()], pa.int64())
    moved = pc.add_checked(ticks, pc.take(offsets, pc.index_in(quarters, each)))
    return pc.if_else(late, moved, known(pc.if_else(late, None, ticks)))


def _in_reach(seconds: int) -> int:
    """The same time of the same weekday and date in a year that Python knows."""
    return seconds if seconds < FAR else FAR - CYCLE + (seconds - FAR) % CYCLE


def _seconds(at: datetime) -> int:
    offset = at.utcoffset()
    return 0 if offset is None else int(offset.total_seconds())
