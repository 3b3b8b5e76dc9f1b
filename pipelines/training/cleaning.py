"""Cleaning: caps for outliers, fills for missing values, and marks of both; fitted on a training frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts.card import CleaningCounts, ColumnCleaning, ModelCard
from pipelines.errors import CorruptData, InvalidInput
from pipelines.params.cleaning import CleaningRules as Rules
from pipelines.params.cleaning import Constant, Fences, Outliers, Quantiles, Rule, Unfilled

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Cleaning:
    """The cleaning of each of n numeric inputs, in float32 as in the graph, so that both give the same values.

    Attributes:
        columns: names of the inputs.
        low, high: (n,) caps, infinite where there is none.
        fill: (n,) in place of missing values, NaN where these are kept.
        flags: positions of inputs that have a flag, 1 where a value was capped.
        indicators: positions of inputs that have an indicator, 1 where a value is missing.
    """

    columns: tuple[str, ...]
    low: Floats
    high: Floats
    fill: Floats
    flags: tuple[int, ...]
    indicators: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of columns of the result of `apply`."""
        return len(self.columns) + len(self.flags) + len(self.indicators)

    def outside(self, numeric: Floats) -> NDArray[np.bool_]:
        return (numeric < self.low) | (numeric > self.high)

    def capped(self, numeric: Floats) -> Floats:
        """(N, n) within the caps; missing values stay missing."""
        return np.where(numeric > self.high, self.high, np.where(numeric < self.low, self.low, numeric))

    def values(self, numeric: Floats) -> Floats:
        """(N, n) capped and filled."""
        return np.where(np.isnan(numeric), self.fill, self.capped(numeric))

    def marks(self, numeric: Floats) -> Floats:
        """(N, flags and indicators) of 0 and 1."""
        flags = self.outside(numeric)[:, list(self.flags)]
        indicators = np.isnan(numeric)[:, list(self.indicators)]
        return np.concatenate([flags, indicators], axis=1).astype(np.float32)

    def apply(self, numeric: Floats) -> Floats:
        """(N, n) to (N, width): the values, then the marks."""
        return np.concatenate([self.values(numeric), self.marks(numeric)], axis=1)

    def count(self, numeric: Floats) -> CleaningCounts:
        """The number of values that it changes in (N, n), by input."""
        caps, missing = self.outside(numeric).sum(axis=0), np.isnan(numeric).sum(axis=0)
        fills = np.where(np.isnan(self.fill), 0, missing)
        each = zip(self.columns, caps, missing, fills, strict=True)
        columns = {name: {"capped": int(c), "missing": int(m), "imputed": int(f)} for name, c, m, f in each}
        return CleaningCounts(rows=len(numeric), columns=columns)

    def facts(self) -> dict[str, ColumnCleaning]:
        """The fitted values, by input."""
        return {
            name: ColumnCleaning(
                low=_finite(self.low[n]),
                high=_finite(self.high[n]),
                fill=_finite(self.fill[n]),
                flag=n in self.flags,
                indicator=n in self.indicators,
            )
            for n, name in enumerate(self.columns)
        }


def from_facts(facts: Mapping[str, ColumnCleaning], columns: Sequence[str]) -> Cleaning:
    """The cleaning that gave these facts, which hold every column."""
    inputs = [facts[name] for name in columns]
    return Cleaning(
        tuple(columns),
        _floats([one.low for one in inputs], -np.inf),
        _floats([one.high for one in inputs], np.inf),
        _floats([one.fill for one in inputs], np.nan),
        tuple(n for n, one in enumerate(inputs) if one.flag),
        tuple(n for n, one in enumerate(inputs) if one.indicator),
    )


def from_card(card: ModelCard) -> Cleaning:
    """The cleaning of a model.

    Raises:
        CorruptData: if model.json lacks the cleaning of a numeric input.
    """
    try:
        return from_facts(card.cleaning.columns, card.inputs.numeric)
    except KeyError as error:
        raise CorruptData(f"model.json does not tell how {error} is cleaned; {card.REMEDY}") from None


def fit_cleaning(numeric: Floats, columns: Sequence[str], family: str, rules: Rules) -> Cleaning:
    """Fit the rules of a family on the training frame's (N, n), and on nothing else.

    An input without a finite value in training becomes 0, or its constant, whatever the rule, since nothing is known
    about it. A mark that is the same in every row of training is left out.

    Raises:
        InvalidInput: if the rules name a column that is not a numeric input.
    """
    if strangers := sorted(rules.columns_with_changes - set(columns)):
        raise InvalidInput(f"cleaning names {', '.join(strangers)}, no numeric model input; remove or correct it")
    each = [rules.rule(family, name) for name in columns]
    caps_and_fills = np.array(
        [_fit(column, rule) for column, rule in zip(numeric.T, each, strict=True)], dtype=np.float32
    )
    low, high, fill = caps_and_fills.reshape(-1, 3).T
    bare = Cleaning(tuple(columns), low, high, fill, (), ())
    with_flag = [rule.outliers.method != "none" and rule.outliers.flag for rule in each]
    with_indicator = [rule.missing.indicators for rule in each]
    return Cleaning(
        tuple(columns),
        low,
        high,
        fill,
        _varying(bare.outside(numeric), with_flag),
        _varying(np.isnan(numeric), with_indicator),
    )


def totals(counts: CleaningCounts) -> dict[str, float]:
    """Rows, and the share of all values that was capped, missing and filled."""
    columns = counts.columns.values()
    values = max(counts.rows * len(columns), 1)
    return {
        "rows": counts.rows,
        "capped_share": sum(column["capped"] for column in columns) / values,
        "missing_share": sum(column["missing"] for column in columns) / values,
        "imputed_share": sum(column["imputed"] for column in columns) / values,
    }


def _fit(values: Floats, rule: Rule) -> tuple[np.float32, np.float32, np.float32]:
    """Low cap, high cap and fill of one input."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        fill = np.float32(rule.missing.value if isinstance(rule.missing, Constant) else 0.0)
        return fill, fill, fill
    low, high = _caps(finite, rule.outliers)
    if isinstance(rule.missing, Constant):
        return low, high, np.float32(rule.missing.value)
    if isinstance(rule.missing, Unfilled):
        return low, high, np.float32(np.nan)
    within = np.clip(finite, low, high)
    return low, high, np.float32(np.mean(within) if rule.missing.strategy == "mean" else np.median(within))


def _caps(finite: NDArray[np.float64], rule: Outliers) -> tuple[np.float32, np.float32]:
    low, high = -np.inf, np.inf
    if isinstance(rule, Quantiles):
        low, high = np.quantile(finite, (rule.low, rule.high))
    elif isinstance(rule, Fences):
        first, third = np.quantile(finite, (0.25, 0.75))
        if third > first:
            low, high = first - rule.factor * (third - first), third + rule.factor * (third - first)
    with np.errstate(over="ignore"):
        return np.float32(low), np.float32(high)


def _varying(marks: NDArray[np.bool_], selection: Sequence[bool]) -> tuple[int, ...]:
    """Positions of the selected columns that have both true and false values."""
    return tuple(
        int(n) for n in np.flatnonzero(marks.any(axis=0) & ~marks.all(axis=0) & np.array(selection, dtype=bool))
    )


def _floats(values: Sequence[float | None], missing: float) -> Floats:
    return np.array([missing if value is None else value for value in values], dtype=np.float32)


def _finite(value: np.float32) -> float | None:
    return float(value) if math.isfinite(value) else None
