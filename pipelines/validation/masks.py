"""Every bad row of a row-level expectation, as a boolean mask.

Great Expectations counts the unexpected rows of a batch but lists only some of them. These masks reproduce its pandas
semantics in full: nulls are ignored (except by not-null), both sides of a duplicate are bad, and a pair with one value
missing is bad. The count of each mask is checked against the count that Great Expectations reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

Kwargs = Mapping[str, Any]
Mask = npt.NDArray[np.bool_]


def bad_rows(frame: pd.DataFrame, expectation: Expectation) -> Mask:
    """The rows of `frame` that do not meet an expectation.

    Args:
        frame: the batch, one row for each record.

    Raises:
        InvalidInput: if the expectation's type, or an argument such as `row_condition`, has no mask.
    """
    require_translation(expectation)
    if isinstance(expectation, OwnMask):
        return expectation.bad_rows(frame)
    return MASKS[expectation.configuration.type](frame, expectation.configuration.kwargs)


def mostly_good(rows: int, bad: int, mostly: float | None) -> bool:
    """Whether enough of the judged rows are good, computed as Great Expectations does; true where there are none."""
    return not rows or (rows - bad) / rows >= (1.0 if mostly is None else mostly)


def require_translation(expectation: Expectation) -> None:
    """Raises InvalidInput where the bad rows of an expectation cannot be identified."""
    kind, kwargs = expectation.configuration.type, expectation.configuration.kwargs
    if kind not in MASKS and not isinstance(expectation, OwnMask | OwnRows):
        raise InvalidInput(
            f"{kind} cannot quarantine rows; use one of {', '.join(sorted(MASKS))} or a row expectation of "
            "pipelines.validation, or give it the severity critical or warning"
        )
    if kwargs.get("row_condition"):
        raise InvalidInput(
            f"{kind} has a row_condition, which quarantine does not support; "
            "drop it, or give the expectation the severity critical or warning"
        )


@runtime_checkable
class OwnMask(Protocol):
    """An expectation of ours that finds its bad rows in a frame."""

    def bad_rows(self, frame: pd.DataFrame) -> Mask: ...


@runtime_checkable
class OwnRows(Protocol):
    """An expectation of ours that finds its bad rows in SQL."""

    def bad(self) -> str: ...


def null(frame: pd.DataFrame, kwargs: Kwargs) -> Mask:
    return _column(frame, kwargs).isna().to_numpy(dtype=bool)


def outside_range(frame: pd.DataFrame, kwargs: Kwargs) -> Mask:
    values = _column(frame, kwargs)
    low, high = (_bound(values, kwargs.get(name)) for name in ("min_value", "max_value"))
    present = values.notna()
    values = values[present]
    inside = pd.Series(True, index=values.index)
    if low is not None:
        inside &= (values > low) if kwargs.get("strict_min") else (values >= low)
    if high is not None:
        inside &= (values < high) if kwargs.get("strict_max") else (values <= high)
    return spread(present, ~inside)


def outside_set(frame: pd.DataFrame, kwargs: Kwargs) -> Mask:
    values = _column(frame, kwargs)
    if kwargs.get("value_set") is None:
        return np.zeros(len(frame), dtype=bool)
    present = values.notna()
    return spread(present, ~values[present].isin(kwargs["value_set"]))


def unlike_regex(frame: pd.DataFrame, kwargs: Kwargs) -> Mask:
    values = _column(frame, kwargs)
    present = values.notna()
    return spread(present, ~values[present].astype(str).str.contains(kwargs["regex"]).astype(bool))


def outside_length(frame: pd.DataFrame, kwargs: Kwargs) -> Mask:
    values = _column(frame, kwargs)
    present = values.notna()
    lengths = values[present].astype(str).str.len()
    inside = pd.Series(True, index=lengths.index)
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if low is not None:
        inside &= (lengths > low) if kwargs.get("strict_min") else (lengths >= low)
    if high is not None:
        inside &= (lengths < high) if kwargs.get("strict_max") else (lengths <= high)
    return spread(present, ~inside)


def duplicate(frame: pd.DataFrame, kwargs: Kwargs) -> Mask:
    values = _column(frame, kwargs)
    present = values.notna()
    return spread(present, values[present].duplicated(keep=False))


def compound_duplicate(frame: pd.DataFrame, kwargs: Kwargs) -> Mask:
    columns = frame[list(kwargs["column_list"])]
    selection = judged_rows(columns, kwargs.get("ignore_row_if") or "all_values_are_missing")
    return spread(selection, columns[selection].duplicated(keep=False))


def not_greater(frame: pd.DataFrame, kwargs: Kwargs) -> Mask:
    pair = frame[[kwargs["column_A"], kwargs["column_B"]]]
    selection = judged_rows(pair, kwargs.get("ignore_row_if") or "both_values_are_missing")
    a, b = (pair.loc[selection, kwargs[side]] for side in ("column_A", "column_B"))
    return spread(selection, ~((a >= b) if kwargs.get("or_equal") else (a > b)))


MASKS: Mapping[str, Callable[[pd.DataFrame, Kwargs], Mask]] = {
    "expect_column_values_to_not_be_null": null,
    "expect_column_values_to_be_between": outside_range,
    "expect_column_values_to_be_in_set": outside_set,
    "expect_column_values_to_match_regex": unlike_regex,
    "expect_column_value_lengths_to_be_between": outside_length,
    "expect_column_values_to_be_unique": duplicate,
    "expect_compound_columns_to_be_unique": compound_duplicate,
    "expect_column_pair_values_a_to_be_greater_than_b": not_greater,
}


def _column(frame: pd.DataFrame, kwargs: Kwargs) -> pd.Series:
    name: str = kwargs["column"]
    return frame[name]


def _bound(values: pd.Series, bound: Any) -> Any:
    """A bound in the type of the values: dates may be written as text."""
    return pd.Timestamp(bound) if isinstance(bound, str) and pd.api.types.is_datetime64_any_dtype(values) else bound


def judged_rows(columns: pd.DataFrame, ignore_row_if: str) -> pd.Series:
    """Which rows an expectation over several columns judges."""
    missing = columns.isna()
    if ignore_row_if in ("all_values_are_missing", "both_values_are_missing"):
        return ~missing.all(axis=1)
    if ignore_row_if in ("any_value_is_missing", "either_value_is_missing"):
        return ~missing.any(axis=1)
    return pd.Series(True, index=columns.index)


def spread(selection: pd.Series, bad: pd.Series) -> Mask:
    """A mask over all rows from one over the selected rows; the other rows are not bad."""
    mask = np.zeros(len(selection), dtype=bool)
    mask[selection.to_numpy(dtype=bool)] = bad.to_numpy(dtype=bool)
    return mask
