"""Rules over several columns of a row, as custom Great Expectations that any use case may declare.

A rule is written once, as `meets`: the metric that Great Expectations evaluates and the quarantine mask both call it. A
use case defines a rule of its own as a subclass of `RowExpectation` with `@row_rule`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import MulticolumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import MulticolumnMapMetricProvider
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_condition_partial import (
    multicolumn_condition_partial,
)

from pipelines.validation.masks import Mask, judged_rows, spread

Rule = TypeVar("Rule", bound="type[RowExpectation]")
Skipped = Literal["all_values_are_missing", "any_value_is_missing", "never"]


class RowExpectation(MulticolumnMapExpectation):
    """A rule that each row meets or fails by itself.

    Rows with a missing value are ignored unless a subclass sets `ignore_row_if` otherwise.

    Attributes:
        column_list: the columns that the rule reads, in the order that it documents.
        arguments: names of the fields that are arguments of `meets`.
    """

    ignore_row_if: Skipped = "any_value_is_missing"
    arguments: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    @abstractmethod
    def meets(columns: pd.DataFrame, **arguments: Any) -> pd.Series:
        """Which rows meet the rule; `columns` holds `column_list` in order, without the rows to ignore."""

    def bad_rows(self, frame: pd.DataFrame) -> Mask:
        columns = frame[self.column_list]
        selection = judged_rows(columns, self.ignore_row_if)
        arguments = {name: getattr(self, name) for name in self.arguments}
        return spread(selection, ~self.meets(columns[selection], **arguments).astype(bool))


def row_rule(rule: Rule) -> Rule:
    """Register the metric `map_metric`, by which Great Expectations evaluates a rule."""

    def _pandas(_: Any, column_list: pd.DataFrame, **kwargs: Any) -> pd.Series:
        return rule.meets(column_list, **{name: kwargs[name] for name in rule.arguments})

    type(
        f"{rule.__name__}Metric",
        (MulticolumnMapMetricProvider,),
        {
            "condition_metric_name": rule.map_metric,
            "condition_value_keys": rule.arguments,
            "_pandas": multicolumn_condition_partial(engine=PandasExecutionEngine)(_pandas),
        },
    )
    return rule


@row_rule
class ExpectPresenceToImply(RowExpectation):
    """Where the first of `column_list` is present, all the others are: what has arrived has departed."""

    ignore_row_if: Skipped = "all_values_are_missing"
    map_metric = "flightdeck.presence_implies"

    @staticmethod
    def meets(columns: pd.DataFrame, **arguments: Any) -> pd.Series:
        condition, implied = columns.iloc[:, 0], columns.iloc[:, 1:]
        good: pd.Series = condition.isna() | implied.notna().all(axis=1)
        return good


@row_rule
class ExpectQuotientsToBeBetween(RowExpectation):
    """`scale` times the first column over the second lies within [min_value, max_value]; division by 0 does not."""

    min_value: float
    max_value: float
    scale: float = 1.0
    map_metric = "flightdeck.quotient_between"
    arguments = ("min_value", "max_value", "scale")
    success_keys = ("mostly", "min_value", "max_value", "scale")

    @staticmethod
    def meets(columns: pd.DataFrame, **arguments: Any) -> pd.Series:
        over, under = (columns.iloc[:, n].astype("float64") for n in (0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = arguments["scale"] * over / under
        good: pd.Series = quotient.between(arguments["min_value"], arguments["max_value"])
        return good


@row_rule
class ExpectWeightedSumsToEqual(RowExpectation):
    """The first column is the sum of the others, each times its weight."""

    weights: list[float]
    map_metric = "flightdeck.weighted_sum"
    arguments = ("weights",)
    success_keys = ("mostly", "weights")

    @staticmethod
    def meets(columns: pd.DataFrame, **arguments: Any) -> pd.Series:
        total, parts = columns.iloc[:, 0], columns.iloc[:, 1:]
        good: pd.Series = (parts * arguments["weights"]).sum(axis=1) == total
        return good


@row_rule
class ExpectInstantsToFitLocalTime(RowExpectation):
    """The first column, an instant, has in `timezone` the calendar parts that the other columns say.

    It finds times written in another zone, and holds on both days on which the clock changes.

    Attributes:
        parts: of the columns after the first, in order: names of attributes of a datetime such as year or hour.
    """

    timezone: str
    parts: list[str]
    map_metric = "flightdeck.local_time"
    arguments = ("timezone", "parts")
    success_keys = ("mostly", "timezone", "parts")

    @staticmethod
    def meets(columns: pd.DataFrame, **arguments: Any) -> pd.Series:
        local = columns.iloc[:, 0].dt.tz_convert(arguments["timezone"])
        calendar = columns.iloc[:, 1:]
        fits = [getattr(local.dt, part) == calendar.iloc[:, n] for n, part in enumerate(arguments["parts"])]
        good: pd.Series = pd.concat(fits, axis=1).all(axis=1)
        return good
