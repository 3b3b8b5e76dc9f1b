"""`cleaning` of params.yaml: how outliers are capped and missing values filled, for every family and numeric input."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.params.section import Positive, Section, Share
from pipelines.params.training import FAMILIES, READS_MISSING


class Uncapped(Section):
    method: Literal["none"]


class Quantiles(Section):
    """Caps at two quantiles of the training values."""

    method: Literal["quantile"]
    low: Share = 0.001
    high: Share = 0.999
    flag: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high <= self.low:
            raise ValueError("needs low < high")
        return self


class Fences(Section):
    """Caps `factor` interquartile ranges outside the quartiles (Tukey 1977); no caps where that range is 0."""

    method: Literal["iqr"]
    factor: Positive = 3.0
    flag: bool = True


class Unfilled(Section):
    strategy: Literal["none"]
    indicators: bool = False


class Statistic(Section):
    """The mean or median of the capped training values."""

    strategy: Literal["mean", "median"]
    indicators: bool = True


class Constant(Section):
    strategy: Literal["constant"]
    value: Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
    indicators: bool = True


Outliers = Annotated[Uncapped | Quantiles | Fences, Field(discriminator="method")]
Missing = Annotated[Unfilled | Statistic | Constant, Field(discriminator="strategy")]


class Rule(Section):
    """The rule for one input. `flag` and `indicators` add inputs that mark capped and missing values."""

    outliers: Outliers = Quantiles(method="quantile")
    missing: Missing = Statistic(strategy="mean")


class RuleChange(Section):
    """Parts of a rule; each replaces that part as a whole."""

    outliers: Outliers | None = None
    missing: Missing | None = None


class FamilyRuleChange(RuleChange):
    columns: dict[str, RuleChange] = Field(default_factory=dict)


UNCHANGED = FamilyRuleChange()


class CleaningRules(Rule):
    """The rule of every numeric input, and changes by input, by family, and by input of a family."""

    columns: dict[str, RuleChange] = Field(default_factory=dict)
    families: dict[str, FamilyRuleChange] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if unknown := sorted(set(self.families) - set(FAMILIES)):
            raise ValueError(f"families names {unknown}; choose from {', '.join(FAMILIES)}")
        for family in set(FAMILIES) - READS_MISSING:
            for column in ("", *sorted(self.columns_with_changes)):  # "" for every other
                if self.rule(family, column).missing.strategy == "none":
                    where = f"column {column}" if column else "its inputs"
                    raise ValueError(
                        f"missing.strategy is none for {where} of {family}, which cannot read NaN; fill it"
                    )
        return self

    @property
    def columns_with_changes(self) -> set[str]:
        """Columns that have a change of their own."""
        return set(self.columns).union(*(change.columns for change in self.families.values()))

    def rule(self, family: str, column: str) -> Rule:
        """The rule for an input of a family: each part comes from the most specific change that has it."""
        own = self.families.get(family, UNCHANGED)
        changes = (own.columns.get(column), own, self.columns.get(column), self)
        parts = [change for change in changes if change is not None]
        return Rule(
            outliers=next(change.outliers for change in parts if change.outliers),
            missing=next(change.missing for change in parts if change.missing),
        )
