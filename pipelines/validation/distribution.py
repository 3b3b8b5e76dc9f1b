"""The stability of a column's distribution: an expectation in SQL, see `pipelines.validation.queries`."""

from __future__ import annotations

import math

import pandas as pd

from pipelines.quoting import quoted
from pipelines.validation.queries import Observed, Query


class ExpectDistributionToBeStable(Query):
    """The population stability index of `column` against the validated days before the window is at most `max_psi`.

    The sum over bins of (p - q) ln(p / q), with half a row added to every bin; the bins are the values themselves, or
    tenths of the reference where there are more than `bins` of them, and one for missing values. Below 0.1 is usually
    read as stable, above 0.25 as shifted (N. Siddiqi, Credit Risk Scorecards, 2006). Where either side has fewer than
    `min_rows` rows there is nothing to compare with, which is no success.
    """

    column: str
    max_psi: float = 0.25
    days_before: int = 28
    bins: int = 10
    min_rows: int = 200

    def reference_days(self) -> int:
        return self.days_before

    def sql(self) -> str:
        column = quoted(self.column)
        return f"""
            with few as (select count(distinct {column}) <= {2 * self.bins} as few from reference),
            ranked as (select {column} as value, row_number() over (order by {column}) as n, count(*) over () as of
                from reference where {column} is not null),
            edges as (select list(distinct value order by value) as edges from ranked
                where (select few from few) or n in (select (of * k // {self.bins})::bigint
                    from range(1, {self.bins}) t(k))),
            both_sides as (
                select {column} as value, true as ours from rows union all select {column}, false from reference
            ),
            binned as (
                select ours, case when value is null then -1
                    when (select few from few) then coalesce(list_position(edges, value), 0)
                    else len(list_filter(edges, lambda edge: edge < value)) end as bin
                from both_sides cross join edges
            )
            select bin, count(*) filter (ours) as current, count(*) filter (not ours) as reference
            from binned group by bin order by bin
        """

    def judge(self, answer: pd.DataFrame) -> tuple[bool, Observed]:
        current, reference = int(answer["current"].sum()), int(answer["reference"].sum())
        if min(current, reference) < self.min_rows:
            text = f"nothing to compare with: {current} rows against {reference} of the {self.days_before} days before"
            return False, {"observed_value": f"{text} (at least {self.min_rows} each)"}
        psi = stability_index(answer["current"], answer["reference"])
        return psi <= self.max_psi, {"observed_value": round(psi, 4)}


def stability_index(current: pd.Series, reference: pd.Series) -> float:
    """The population stability index of two histograms over the same bins, with half a row added to each bin."""
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (current, reference))
    return float(sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True)))
