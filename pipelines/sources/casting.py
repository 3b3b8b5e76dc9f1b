"""The one cast from a source's types to the declared types; docs/sources.md has the table."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.instants import Ambiguous
from pipelines.instants import arrow as instants
from pipelines.sources.arrow_values import UNFIT, excerpt, plain, without_nan

WHOLE = r"^[+-]?\d+(?:\.0*)?$"
NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
NOT_FINITE = r"^(?i:nan|[+-]?inf|[+-]?infinity)$"
DIGITS_ALONE = r"^[+-]?\d+$"
INEXACT = "a whole number that no float64 holds exactly"
EXACT = 2**53  # whole numbers below which a float64 holds every one
DIGITS = 40  # of a whole number written with an exponent: more than any type holds


class Unfit(ValueError):
    """A value that does not fit the declared type.

    Args:
        value: the type it has in the source, and the first such value.
        why: what is wrong with it, where the type and the value do not show it.
        row: its position in the column, if it is known.
        twice: whether it is a local time that clocks show twice.
    """

    def __init__(self, value: str, why: str = "", row: int | None = None, twice: bool = False) -> None:
        super().__init__(f"found {value}" + (f": {why}" if why else ""))
        self.why, self.row, self.twice = why, row, twice


def cast(
    column: pa.ChunkedArray,
    target: pa.DataType,
    zone: str,
    nulls: tuple[str, ...] | None = None,
    ambiguous: Ambiguous = "refuse",
) -> pa.ChunkedArray:
    """A column in the declared type; values are exact, or rounded where docs/sources.md says so.

    Args:
        zone: of instants without an offset.
        nulls: words for missing, of cells of a CSV, whose text may stand for numbers and booleans; None: text is text.
        ambiguous: which instant a local time is that clocks show twice.

    Raises:
        Unfit: naming the first value that does not fit.
    """
    column = plain(column)
    try:
        return _cast(column, target, zone, nulls, ambiguous)
    except instants.Mixed as error:
        raise Unfit(str(column.type), str(error)) from None
    except UNFIT as error:
        row, own = _first(column, lambda part: _cast(part, target, zone, nulls, ambiguous))
        value, why = f"{column.type} (such as {excerpt(column[row])})", " ".join(str(own or error).split())[:200]
        raise Unfit(value, why, row, isinstance(own, instants.Twice)) from None


def _cast(
    column: pa.ChunkedArray,
    target: pa.DataType,
    zone: str,
    nulls: tuple[str, ...] | None,
    ambiguous: Ambiguous,
) -> pa.ChunkedArray:
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), target)])
    is_text = pa.types.is_string(column.type)
    if pa.types.is_string(target) or pa.types.is_large_string(target):
        return _text(column).cast(target)
    if is_text:
        is_number = pa.types.is_integer(target) or pa.types.is_floating(target)
        if nulls is not None and is_number and (fast := _fast(column, target)) is not None:
            return fast
        column = pc.utf8_trim_whitespace(column)
        if nulls is not None:
            column = pc.if_else(pc.is_in(column, pa.array(["", *nulls])), None, column)
    numeric = column if not is_text or nulls is not None else None
    if pa.types.is_timestamp(target):
        return _instants(column, target, zone, ambiguous)
    if pa.types.is_date(target):
        return _dates(column).cast(target)
    if pa.types.is_integer(target):
        return _whole(numeric, target)
    if pa.types.is_floating(target):
        return _floats(numeric, target)
    if pa.types.is_boolean(target):
        return _booleans(numeric)
    if column.type.id == target.id or (is_text and pa.types.is_time(target)):
        return column.cast(target)
    if pa.types.is_decimal(target) and numeric is not None and not pa.types.is_boolean(column.type):
        return column.cast(target)
    raise pa.ArrowTypeError("")


def _fast(text: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray | None:
    """The usual cells, by Arrow alone; None where Arrow refuses one, or may accept one that we refuse (0x1F, 1e400)."""
    try:
        cells = text.cast(target)
    except pa.ArrowInvalid:
        return None
    if pa.types.is_integer(target):
        return None if pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py() else cells
    if pa.types.is_float64(target):
        return cells if pc.all(pc.less(pc.abs(cells), float(EXACT))).as_py() is not False else None  # NaN is not less
    return None


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_binary(column.type):
        return column.cast(pa.string())
    raise pa.ArrowTypeError("")


def _instants(column: pa.ChunkedArray, target: pa.TimestampType, zone: str, ambiguous: Ambiguous) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return instants.read(column, target, zone, ambiguous)
    if pa.types.is_date(column.type):
        days = instants.local_day(column, zone).cast(pa.int32()).cast(pa.int64())
        column = pc.multiply(days, instants.DAY).cast(pa.timestamp("s"))
    if pa.types.is_timestamp(column.type):
        return instants.convert(column, target, zone, ambiguous)
    raise pa.ArrowTypeError("")


def _dates(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_date(column.type):
        return instants.local_day(column, "UTC")
    if pa.types.is_string(column.type):
        seconds, nanos, offsets = instants.parse(column)
        if offsets is not None:
            raise pa.ArrowInvalid("an instant, whose date depends on the zone")
        if nanos is not None and pc.any(pc.greater(nanos, 0)).as_py():
            raise pa.ArrowInvalid("a time of day, which a date does not have")
        column = seconds.cast(pa.timestamp("s"))
    if not pa.types.is_timestamp(column.type):
        raise pa.ArrowTypeError("")
    if column.type.tz is not None:
        raise pa.ArrowInvalid("an instant, whose date depends on the zone")
    days = instants.local_day(column, "UTC")
    midnight = pc.multiply(days.cast(pa.int32()).cast(pa.int64()), instants.DAY * instants.PER_SECOND[column.type.unit])
    if pc.any(pc.not_equal(midnight, column.cast(pa.int64()))).as_py():
        raise pa.ArrowInvalid("a time of day, which a date does not have")
    return days


def _whole(column: pa.ChunkedArray | None, target: pa.DataType) -> pa.ChunkedArray:
    if column is None or pa.types.is_boolean(column.type):
        raise pa.ArrowTypeError("")
    widest = pa.uint64() if pa.types.is_unsigned_integer(target) else pa.int64()
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        column = without_nan(column.cast(pa.float64()))
        low, high = (0.0, 2.0**64) if widest == pa.uint64() else (-(2.0**63), 2.0**63)
        fits = pc.and_(
            pc.and_(pc.greater_equal(column, low), pc.less(column, high)), pc.equal(pc.floor(column), column)
        )
        if pc.all(fits).as_py() is False:
            raise pa.ArrowInvalid("not a whole number, or out of the type's range")
        column = column.cast(widest, safe=False)
    elif pa.types.is_string(column.type):
        column = _digits(column).cast(widest)
    elif not pa.types.is_integer(column.type):
        raise pa.ArrowTypeError("")
    return column.cast(target)


def _digits(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text of whole numbers as Arrow reads it: no plus, no point, no exponent."""
    simple = pc.match_substring_regex(text, WHOLE)
    if pc.all(simple).as_py() is False:
        others = pc.unique(pc.filter(text, pc.invert(simple))).drop_null()
        words = pa.array([_digits_of(one) for one in others.to_pylist()], pa.string())
        text = pc.if_else(simple, text, pc.take(words, pc.index_in(text, others)))
    text = pc.replace_substring_regex(pc.utf8_ltrim(text, "+"), r"\.0*$", "")
    return pc.replace_substring_regex(text, r"^-0+$", "0")


def _digits_of(text: str) -> str:
    number = Decimal(text) if pc.match_substring_regex(pa.array([text]), NUMBER)[0].as_py() else Decimal("NaN")
    if not number.is_finite():
        raise pa.ArrowInvalid("not a whole number")
    if number and number.adjusted() > DIGITS:
        raise pa.ArrowInvalid("out of the type's range")
    if number.adjusted() < -DIGITS or number != number.to_integral_value():
        if number:
            raise pa.ArrowInvalid("not a whole number")
        return "0"
    return str(int(number))


def _floats(column: pa.ChunkedArray | None, target: pa.DataType) -> pa.ChunkedArray:
    """Cast by way of float64, which must hold whole numbers exactly and other numbers to its last digit."""
    if column is None:
        raise pa.ArrowTypeError("")
    is_text = pa.types.is_string(column.type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())  # Arrow's own cast to floats is not correctly rounded
    if pa.types.is_string(column.type):
        finite = pc.match_substring_regex(column, NUMBER)
        if pc.all(pc.or_(finite, pc.match_substring_regex(column, NOT_FINITE))).as_py() is False:
            raise pa.ArrowInvalid("not a number")
        words, column = column, column.cast(pa.float64())
        if pc.any(pc.and_(finite, pc.is_inf(column))).as_py():
            raise pa.ArrowInvalid("out of the type's range")
        if is_text:
            _require_exact(words, column)
    elif pa.types.is_integer(column.type):
        column = _exact(column)
    elif not pa.types.is_floating(column.type):
        raise pa.ArrowTypeError("")
    values = column.cast(target, safe=False)
    if target.bit_width < column.type.bit_width and (
        pc.all(pc.equal(_is_inf(values), _is_inf(column))).as_py() is False
    ):
        raise pa.ArrowInvalid("out of the type's range")
    return without_nan(values)


def _exact(whole: pa.ChunkedArray) -> pa.ChunkedArray:
    floats = whole.cast(pa.float64(), safe=False)
    if pc.any(pc.greater_equal(pc.abs(floats), float(EXACT))).as_py():
        in_range = pc.less(floats, 2.0**64 if pa.types.is_unsigned_integer(whole.type) else 2.0**63)
        back = pc.if_else(in_range, floats, 0.0).cast(whole.type, safe=False)
        if pc.all(pc.and_(in_range, pc.equal(back, whole))).as_py() is False:
            raise pa.ArrowInvalid(INEXACT)
    return floats


def _require_exact(words: pa.ChunkedArray, floats: pa.ChunkedArray) -> None:
    """Refuse whole numbers that lose digits, unless the text is how a float is printed, with zeros at its end."""
    large = pc.and_(pc.greater_equal(pc.abs(floats), float(EXACT)), pc.match_substring_regex(words, DIGITS_ALONE))
    for word in pc.unique(pc.filter(words, large)).to_pylist() if pc.any(large).as_py() else ():
        number = float(word)
        if Decimal(word) not in (Decimal(number), Decimal(repr(number))):
            raise pa.ArrowInvalid(INEXACT)


def _is_inf(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_inf(column.cast(pa.float32()) if pa.types.is_float16(column.type) else column)


def _booleans(column: pa.ChunkedArray | None) -> pa.ChunkedArray:
    if column is None:
        raise pa.ArrowTypeError("")
    if pa.types.is_boolean(column.type):
        return column
    if pa.types.is_string(column.type):
        lower = pc.utf8_lower(column)
        lower = pc.if_else(pc.is_in(lower, pa.array(["true", "t"])), "1", lower)
        column = pc.if_else(pc.is_in(lower, pa.array(["false", "f"])), "0", lower)
    numbers = _whole(column, pa.int64())
    if pc.all(pc.is_in(numbers.drop_null(), pa.array([0, 1]))).as_py() is False:
        raise pa.ArrowInvalid("neither 0 nor 1")
    return pc.equal(numbers, 1)


def _first(column: pa.ChunkedArray, attempt: Callable[[pa.ChunkedArray], Any]) -> tuple[int, Exception | None]:
    """The position of the first value that does not pass, by bisection, and what is wrong with it alone."""
    first, length = 0, len(column)
    while length > 1:
        half = length // 2
        try:
            attempt(column.slice(first, half))
            first, length = first + half, length - half
        except (*UNFIT, instants.Mixed):
            length = half
    try:
        attempt(column.slice(first, 1))
    except UNFIT as error:
        return first, error
    return first, None
