"""Expectations that need all partitions of a table at once: they are queries that DuckDB runs.

Great Expectations judges the result of a `Query`'s SQL as its batch. The SQL may read

- `rows`: the window's raw partitions, with the columns `_partition` (the day, or the timestamp in UTC at
  which the period begins; null in a reference table) and
  `_position` (of the row in its partition, from 0);
- `earlier`: the raw partitions of the `earlier_days` days before the window, with the same columns;
- `reference`: the validated partitions of the `reference_days` days before the window;
- `types`: the schemas of the partitions: `_partition`, `name` and `type` (DuckDB's) of each column;
- `ends_at(_partition)`, the instant at which a partition's period ends;
- any reference table of the use case, as `reference_table` names it (or by its name, unless that is one of these).

A `RowQuery` finds bad rows one by one, so it may quarantine them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import pandas as pd
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from pipelines.quoting import literal, quoted
from pipelines.validation.masks import mostly_good

Observed = Mapping[str, Any]  # what Great Expectations reports as the observed value, by name
ANSWER = "flightdeck.answer"
REFERENCE_SCHEMA = "known_tables"  # the schema of reference tables, so that one called `rows` hides no view of ours
ENDS_AT = "ends_at"  # the macro that says when a partition's period ends
BAD = "bad"  # the table that holds the bad rows of a RowQuery while it is judged


def reference_table(name: str) -> str:
    """SQL of a reference table, whatever it is called."""
    return f"{REFERENCE_SCHEMA}.{quoted(name)}"


class AnswerMetric(TableMetricProvider):
    """The batch itself: the result of the query."""

    metric_name = ANSWER

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, execution_engine: Any, metric_domain_kwargs: Any, **_: Any) -> Any:  # noqa: N805 - see its decorator
        return execution_engine.get_compute_domain(metric_domain_kwargs, MetricDomainTypes.TABLE)[0]


class Query(BatchExpectation):
    """An expectation that is judged on the result of `sql`, a small frame."""

    metric_dependencies = (ANSWER,)

    def earlier_days(self) -> int:
        return 0

    def reference_days(self) -> int:
        return 0

    @abstractmethod
    def sql(self) -> str: ...

    @abstractmethod
    def judge(self, answer: pd.DataFrame) -> tuple[bool, Observed]:
        """Whether the expectation is met, and the figures to report."""

    def _validate(
        self, metrics: Mapping[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        success, observed = self.judge(metrics[ANSWER])
        return {"success": success, "result": dict(observed)}


class RowQuery(Query):
    """An expectation that is judged on the number of rows that `bad` returns.

    Attributes:
        mostly: the share of the rows that meet `counted` that must be good.
    """

    mostly: float = 1.0

    @abstractmethod
    def bad(self) -> str:
        """SQL of the bad rows: `_partition`, `_position`, and the values to show."""

    def counted(self) -> str:
        """SQL condition of the rows that are judged."""
        return "true"

    def sql(self) -> str:
        return (
            f"select count(*) as element_count, count(*) filter (not ({self.counted()})) as missing_count, "
            f"(select count(*) from {BAD}) as unexpected_count from rows"
        )

    def judge(self, answer: pd.DataFrame) -> tuple[bool, Observed]:
        counts = {str(name): int(value) for name, value in answer.iloc[0].items()}
        rows, bad = counts["element_count"] - counts["missing_count"], counts["unexpected_count"]
        percent = 100 * bad / rows if rows else 0.0
        return mostly_good(rows, bad, self.mostly), {**counts, "unexpected_percent": percent}


class ExpectKeysToBeUnique(RowQuery):
    """No two rows of a period have the same values in `column_list`, and none has those of an earlier period's row.

    Of two rows in one partition both are bad, since nobody can tell which is right; of rows in two partitions the later
    one is. So what is bad in a period never depends on what came after it.

    Attributes:
        within_days: how far back the same key is looked for, and how long before a key may be used again.
    """

    column_list: list[str]
    within_days: int = 31

    def earlier_days(self) -> int:
        return self.within_days

    def bad(self) -> str:
        names = [f"_key{n}" for n in range(len(self.column_list))]  # aliases that collide with no other column
        columns, keys = [quoted(column) for column in self.column_list], ", ".join(names)
        renamed = ", ".join(f"{column} as {name}" for column, name in zip(columns, names, strict=True))
        restored = ", ".join(f"{name} as {column}" for column, name in zip(columns, names, strict=True))
        same = " and ".join(f"a.{name} is not distinct from b.{name}" for name in names)
        some = " or ".join(f"{column} is not null" for column in columns)
        reach = f"range between interval {self.within_days} days preceding and interval 1 second preceding"
        return f"""
            with every as (
                select {renamed}, _partition, _position, true as ours from rows where {some}
                union all select {renamed}, _partition, _position, false from earlier where {some}
            ),
            often as (select {keys} from every group by all having count(*) > 1),
            suspects as (select a.* from every a semi join often b on {same}),
            known as (
                select *,
                    count(*) over (partition by {keys}, _partition) > 1 as twice,
                    count(*) over (partition by {keys} order by _partition {reach}) > 0 as again
                from suspects
            )
            select _partition, _position, {restored} from known where ours and (twice or again)
        """


class ExpectValuesToBeKnown(RowQuery):
    """Every value of `column` that is there is in column `known_in` of a reference table, or one of `allowed`."""

    column: str
    table: str
    known_in: str
    allowed: tuple[str, ...] = ()

    def bad(self) -> str:
        column, key, allowed = quoted(self.column), quoted(self.known_in), ", ".join(map(literal, self.allowed))
        return f"""
            select _partition, _position, {column} from rows
            where {column} is not null {f"and {column} not in ({allowed})" if allowed else ""}
                and {column} not in (
                    select known.{key} from {reference_table(self.table)} known where known.{key} is not null
                )
        """

    def counted(self) -> str:
        return f"{quoted(self.column)} is not null"


class ExpectNumbersToBeFinite(RowQuery):
    """No NaN and no infinity in `column_list`; null stands for a missing value and is allowed."""

    column_list: list[str]

    def bad(self) -> str:
        columns = [quoted(column) for column in self.column_list]
        return f"""
            select _partition, _position, {", ".join(columns)} from rows
            where {" or ".join(f"coalesce(not isfinite({c}::double), false)" for c in columns)}
        """


class ExpectColumnTypes(Query):
    """Every partition has these columns in these types.

    Attributes:
        types: DuckDB's name of a type by column, such as INTEGER or VARCHAR.
    """

    types: dict[str, str]

    def sql(self) -> str:
        types = ", ".join(f"({literal(name)}, {literal(kind)})" for name, kind in self.types.items())
        return f"""
            with wanted(name, type) as (values {types}),
            partitions as (select distinct _partition from types)
            select p._partition, w.name, w.type as expected, t.type as found
            from wanted w cross join partitions p
                left join types t on t.name = w.name and t._partition is not distinct from p._partition
            where t.type is distinct from w.type
            order by all
        """

    def judge(self, answer: pd.DataFrame) -> tuple[bool, Observed]:
        mismatches = answer[["name", "expected", "found"]].drop_duplicates().itertuples(index=False, name=None)
        messages = [f"{name}: {found or 'missing'}, not {expected}" for name, expected, found in mismatches]
        first = f" (first in {answer['_partition'].iloc[0]})" if answer["_partition"].notna().any() else ""
        return answer.empty, {"observed_value": f"{'; '.join(messages)}{first}" if messages else "as declared"}


class ExpectPeriodRowCountsToBeBetween(Query):
    """Every period (a day by default) that has rows has so many. (One without any is reported for itself.)"""

    min_value: int | None = None
    max_value: int | None = None

    def sql(self) -> str:
        return "select _partition as period, count(*) as n from rows group by all order by all"

    def judge(self, answer: pd.DataFrame) -> tuple[bool, Observed]:
        low = -math.inf if self.min_value is None else self.min_value
        high = math.inf if self.max_value is None else self.max_value
        outside = answer[~answer["n"].between(low, high)]
        return outside.empty, {"observed_value": worst(answer, outside, "n", "rows")}


class ExpectPeriodsToReachTheirEnd(Query):
    """The newest `column` (an instant) of every period (a day by default) lies within `hours` of its end.

    It is judged for each period, so it holds for the end of any window, and needs no clock.
    """

    column: str
    hours: float

    def sql(self) -> str:
        lag = f"date_diff('second', max({quoted(self.column)}), {ENDS_AT}(_partition)) / 3600"
        return f"""
            select _partition as period, {lag} as lag
            from rows group by _partition order by _partition
        """

    def judge(self, answer: pd.DataFrame) -> tuple[bool, Observed]:
        outside = answer[~(answer["lag"] <= self.hours)]  # a period with no instant at all has no lag
        return outside.empty, {"observed_value": worst(answer, outside, "lag", "h before its end")}


def worst(answer: pd.DataFrame, outside: pd.DataFrame, column: str, unit: str) -> str:
    """The range of a figure over the periods, and the first of those in which it is outside its bounds."""
    text = f"{answer[column].min():g} to {answer[column].max():g} {unit}" if len(answer) else "no rows"
    first = outside.head(3)
    at = answer["period"].map(pd.Timestamp)
    daily = bool((at == at.dt.normalize()).all()) if len(at) else True
    named = zip(at[first.index], first[column], strict=True)
    shown = ", ".join(f"{one.date() if daily else one}: {value:g}" for one, value in named)
    return text + (f"; outside on {len(outside)} {'days' if daily else 'periods'} ({shown})" if shown else "")
