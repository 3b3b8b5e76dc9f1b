"""The inputs of a model's graph: numbers as float32, categories in one spelling whatever type they are stored in.

Training, monitoring, the model server and the parity gate all use these functions. A leaf: imports no step.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    Column = pd.Series[Any] | NDArray[Any] | Sequence[Any]

SPELLING = 1  # of this module; model.json carries it
WHOLE = 2**53  # from here on float64 does not hold every whole number, so that digits may have been lost


def number_column(values: Column, name: str) -> NDArray[np.float32]:
    """(N,) float32; NaN where a value is missing or not finite. True is 1 and False is 0.

    Raises:
        InvalidInput: if a value is not a real number; text never is.
    """
    array = _array(values, name)
    if array.dtype == np.float32:
        found = array.copy()
    else:
        with np.errstate(over="ignore"):  # through float64, so that a batch with missing values rounds as one without
            found = array.astype(np.float64, copy=False).astype(np.float32)
    finite = np.isfinite(found)
    if not finite.all():
        found[~finite] = np.nan
    return found


def exact_column(values: Column, name: str) -> NDArray[np.float64]:
    """As `number_column`, without its rounding: what is computed from numbers before it becomes an input."""
    exact = _array(values, name).astype(np.float64)
    exact[~np.isfinite(exact)] = np.nan
    return exact


def number_columns(frame: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float32]:
    """(N, n) of several columns, each as by `number_column`."""
    columns = frame[list(names)]
    if not (columns.dtypes == np.float32).all():
        matrix = np.empty(columns.shape, dtype=np.float32)
        for position, name in enumerate(names):
            matrix[:, position] = number_column(frame[name], name)
        return matrix
    matrix = np.ascontiguousarray(columns.to_numpy(dtype=np.float32))
    infinite = np.isinf(matrix)
    return np.where(infinite, np.float32(np.nan), matrix) if infinite.any() else matrix


def string_column(values: Column, name: str, missing: str | None = "") -> NDArray[np.object_]:
    """(N,) spellings, and `missing` where there is no value.

    Raises:
        InvalidInput: as `spelling`.
    """
    if isinstance(values, pd.Series) and values.dtype != object:
        codes, distinct = pd.factorize(values)
        spellings = [spelling(value, name) for value in distinct]
        return np.array([*(missing if text is None else text for text in spellings), missing], dtype=object)[codes]
    if isinstance(values, pd.Series) and pd.api.types.infer_dtype(values, skipna=True) in {"string", "empty"}:
        return values.where(values.notna(), missing).to_numpy()
    texts = np.empty(len(values), dtype=object)
    if isinstance(values, np.ndarray) and {*map(type, values)} == {str}:
        texts[:] = values
        return texts
    for position, value in enumerate(values):
        text = spelling(value, name)
        texts[position] = missing if text is None else text
    return texts


def spelling(value: Any, name: str = "a category") -> str | None:
    """A category as text; None where it is missing.

    Text stays as it is. Whole numbers of any type become their digits ("2", never "2.0"), other numbers the `repr` of
    their float64, truth values "True" and "False". Instants become ISO 8601 in UTC with whole seconds; dates, and
    instants at midnight, the date alone. NaN and infinity are missing.

    Raises:
        InvalidInput: if a whole number may have lost digits as a float, or the type has no spelling.
    """
    if isinstance(value, str):
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real | Decimal):
        return _spelt_number(value, name)
    if isinstance(value, np.datetime64):
        return spelling(pd.Timestamp(value), name)
    if isinstance(value, datetime):
        at = datetime(*value.utctimetuple()[:6], tzinfo=UTC)  # one without a zone is in UTC
        return at.date().isoformat() if at.timetuple()[3:6] == (0, 0, 0) else at.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise InvalidInput(f"{name}: {value!r} ({type(value).__name__}) is not a category; declare the column as text")


def _spelt_number(value: Any, name: str) -> str | None:
    number = float(value)
    if not np.isfinite(number):
        return None
    if isinstance(value, Decimal):
        return str(int(value)) if value == value.to_integral_value() else repr(number)
    if not number.is_integer():
        return repr(number)
    if abs(number) >= WHOLE:
        raise InvalidInput(
            f"{name}: the category {number:.0f} may have lost digits as a floating-point number; declare the column as "
            "text"
        )
    return str(int(number))


def _number(value: Any, name: str) -> float:
    if type(value) is float:
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return np.nan
    if not isinstance(value, numbers.Real | Decimal | np.bool_):
        raise InvalidInput(f"input {name} is not a number (it has {value!r}); correct its declaration")
    try:
        return float(value)
    except OverflowError:
        return np.nan


def _array(values: Column, name: str) -> NDArray[Any]:
    """Values as a numeric numpy array."""
    array = _plain(values)
    return np.array([_number(value, name) for value in values], dtype=np.float64) if array is None else array


def _plain(values: Column) -> NDArray[Any] | None:
    """Values as a numeric numpy array; None where the type of the column is not numeric."""
    if isinstance(values, np.ndarray):
        return values if values.dtype.kind in "fiub" else None
    if not isinstance(values, pd.Series):
        return None
    if not pd.api.types.is_numeric_dtype(values.dtype):  # truth values and pandas' nullable types are numeric
        return None
    return values.to_numpy() if isinstance(values.dtype, np.dtype) else values.to_numpy(np.float64, na_value=np.nan)
