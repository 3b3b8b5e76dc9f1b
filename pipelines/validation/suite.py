"""A table's expectations, and their results on one batch.

An expectation's `meta` holds its severity, which is ours, and a short reason code:

- critical: a failure stops the chain (the default);
- quarantine: a failure quarantines the bad rows; only for expectations that judge row by row;
- warning: a failure is reported.

An expectation with `mostly` fails, and so quarantines, only when fewer rows than that share meet it.

A daily table is judged a chunk of whole days at a time. What must hold across days (`Query`, in
`pipelines.validation.queries`) is judged in SQL over all partitions at once.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from pipelines.errors import InvalidInput
from pipelines.usecase import DAY, PERIOD
from pipelines.validation.masks import require_translation

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

POSITION = "position"  # identifies results, which Great Expectations returns in another order
CHUNKED = {  # expectations that depend on how partitions are chunked, and their replacements
    "expect_table_row_count_to_be_between": "ExpectPeriodRowCountsToBeBetween",
    "expect_table_row_count_to_equal": "ExpectPeriodRowCountsToBeBetween",
    "expect_column_values_to_be_unique": "ExpectKeysToBeUnique",
    "expect_compound_columns_to_be_unique": "ExpectKeysToBeUnique",
}


class Severity(StrEnum):
    CRITICAL = "critical"
    QUARANTINE = "quarantine"
    WARNING = "warning"


@dataclass(frozen=True)
class Check:
    """An expectation as declared.

    Attributes:
        type: such as `expect_column_values_to_be_between`.
        reason: short code, written beside quarantined rows.
    """

    expectation: Expectation
    type: str
    kwargs: Mapping[str, Any]
    severity: Severity
    reason: str

    @property
    def in_sql(self) -> bool:
        """Whether it is judged in SQL over all partitions, not a chunk at a time."""
        from pipelines.validation.queries import Query

        return isinstance(self.expectation, Query)

    @property
    def title(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.kwargs.items())
        return f"{self.type}({arguments})"


@dataclass(frozen=True)
class Result:
    """The result of a check.

    Attributes:
        success: whether the expectation was met; never true where it could not be evaluated.
        error: why it could not be evaluated, else None.
        observed: Great Expectations' figures: element_count, unexpected_count, observed_value and the like.
        sample: some of the values that do not meet the expectation.
    """

    check: Check
    success: bool
    error: str | None
    observed: Mapping[str, Any]
    sample: Sequence[Any] = ()


def quiet() -> None:
    """Keep Great Expectations from logging hundreds of lines; to be called before it is imported."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)


def checks_of(table: str, expectations: Iterable[Expectation], daily: bool = False) -> list[Check]:
    """The checks of a table.

    Raises:
        InvalidInput: if a severity is unknown, a quarantine expectation does not judge row by row, or an expectation
            about the rows of a daily table would depend on how its partitions are chunked.
    """
    return [_check(table, expectation, daily) for expectation in expectations]


def _check(table: str, expectation: Expectation, daily: bool) -> Check:
    configuration = expectation.configuration
    by_partition = {DAY, PERIOD} & set(configuration.kwargs.get("column_list", ()))
    if daily and configuration.type in CHUNKED and not by_partition:
        raise InvalidInput(
            f"{table}: {configuration.type} sees only a part of a daily table; use {CHUNKED[configuration.type]} of "
            "pipelines.validation.queries"
        )
    meta = expectation.meta or {}
    severity = meta.get("severity", Severity.CRITICAL)
    if severity not in set(Severity):
        raise InvalidInput(
            f"{table}: {configuration.type} has severity {severity!r}; choose from {', '.join(Severity)}"
        )
    if severity == Severity.QUARANTINE:
        try:
            require_translation(expectation)
        except InvalidInput as error:
            raise InvalidInput(f"{table}: {error}") from None
    reason = str(meta.get("reason") or configuration.type.removeprefix("expect_"))
    if "," in reason:
        raise InvalidInput(f"{table}: reason {reason!r} of {configuration.type} has a comma; use a code without one")
    return Check(expectation, configuration.type, dict(configuration.kwargs), Severity(severity), reason)


def batch_frame(table: pa.Table) -> pd.DataFrame:
    """A table in the types that Great Expectations handles fast: 64-bit numbers and nanosecond timestamps.

    It judges other types value by value. A column with an instant that nanoseconds cannot hold (before 1677 or after
    2262) stays in its own unit. Pandas metadata in the file is ignored.
    """
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    timed = [str(name) for name, dtype in frame.dtypes.items() if dtype.kind in "mM"]
    frame = frame.assign(**{name: _in_nanoseconds(frame[name]) for name in timed})
    wide = {
        name: "float64" if dtype.kind == "f" else "int64"
        for name, dtype in frame.dtypes.items()
        if dtype in ("float16", "float32", "int8", "int16", "int32", "uint8", "uint16", "uint32")
    }
    return frame.astype(wide)


def _in_nanoseconds(column: pd.Series) -> pd.Series:
    from pandas.errors import OutOfBoundsDatetime, OutOfBoundsTimedelta

    try:
        narrow: pd.Series = column.dt.as_unit("ns")
    except (OutOfBoundsDatetime, OutOfBoundsTimedelta):
        return column
    return narrow


def evaluate(frame: pd.DataFrame, checks: Sequence[Check]) -> list[Result]:
    """Run the checks on one batch, in the order of `checks`; a check without a result counts as an error.

    Great Expectations catches what a check raises, but not errors in its own handling of results. After such an error
    each check runs alone, so that a value that breaks one check breaks no other.
    """
    try:
        return _evaluate(frame, checks)
    except Exception as error:
        if len(checks) == 1:
            return [Result(checks[0], False, f"{type(error).__name__}: {error}", {})]
    return [result for check in checks for result in evaluate(frame, [check])]


def _evaluate(frame: pd.DataFrame, checks: Sequence[Check]) -> list[Result]:
    numbered = [c.expectation.copy(update={"id": None, "meta": {POSITION: n}}) for n, c in enumerate(checks)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = _validate(frame, numbered)
    by_position = {result["expectation_config"]["meta"][POSITION]: result for result in results}
    return [_result(check, by_position.get(n)) for n, check in enumerate(checks)]


def _validate(frame: pd.DataFrame, expectations: list[Expectation]) -> list[dict[str, Any]]:
    import great_expectations as gx

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.ERROR)  # sets itself to INFO
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("window").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="suite", expectations=expectations)
    validated: Any = batch.validate(suite, result_format="BASIC")
    return list(validated.to_json_dict()["results"])


def _result(check: Check, answer: Mapping[str, Any] | None) -> Result:
    if answer is None:
        return Result(check, False, "Great Expectations gave no result for it", {})
    info = answer["exception_info"]
    # If a metric raises, the information is keyed by metric.
    errors = [i for i in (info, *info.values()) if isinstance(i, dict) and i.get("raised_exception")]
    observed = {name: value for name, value in answer["result"].items() if not name.startswith("partial_")}
    sample = answer["result"].get("partial_unexpected_list") or ()
    error = str(errors[0].get("exception_message") or "it raised an exception") if errors else None
    return Result(check, answer["success"] is True and error is None, error, observed, tuple(sample))
