"""Judgement of one table of a window of any size: in chunks by Great Expectations, and in SQL over all partitions."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.closed import WEEK, closed_of
from pipelines.periods import Period
from pipelines.usecase import RawTable
from pipelines.validation.asking import ask
from pipelines.validation.assessment import Assessment, Findings, assess, missing
from pipelines.validation.chunks import Chunk, Partition, chunks
from pipelines.validation.masks import bad_rows
from pipelines.validation.merging import merge
from pipelines.validation.quarantine import Quarantine
from pipelines.validation.releases import let_go
from pipelines.validation.suite import Check, Result, Severity, batch_frame, evaluate

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.context import Context

FEW_ROWS = 10_000  # a frame of at most so many rows can wait for the next automatic garbage collection


def judge(
    table: RawTable,
    periods: Sequence[Period | None],
    checks: Sequence[Check],
    context: Context,
    judged: Mapping[str, Assessment],
) -> Assessment:
    """Read every partition once, a chunk at a time, and then evaluate the remaining checks in SQL.

    Args:
        judged: assessments of the reference tables; queries do not see their bad rows.

    Raises:
        MissingData, CorruptData: as `read_partition`.
    """
    in_chunks = [n for n, check in enumerate(checks) if not check.in_sql]
    in_sql = [n for n, check in enumerate(checks) if check.in_sql]
    parts_by_check: dict[int, list[Result]] = {n: [] for n in in_chunks}
    quarantines: dict[int, Quarantine] = {n: Quarantine() for n in range(len(checks))}
    disagreements: list[str] = []
    partitions: list[Partition] = []
    for chunk in chunks(table, periods, context.data):
        partitions += chunk.partitions
        if not chunk.table.num_rows:
            continue
        frame = batch_frame(chunk.table)
        for n, result in zip(in_chunks, evaluate(frame, [checks[n] for n in in_chunks]), strict=True):
            parts_by_check[n].append(result)
            disagreements += _set_apart(table.name, result, frame, chunk, quarantines[n])
        del frame
        if chunk.table.num_rows > FEW_ROWS:
            gc.collect()  # Great Expectations leaves the frame in a cycle of references
    results = {n: merge(parts) for n, parts in parts_by_check.items() if parts}
    if any(partition.rows for partition in partitions):
        apart = {name: one.quarantine.rows(None) for name, one in judged.items()}
        answers = ask(table, periods, [checks[n] for n in in_sql], context.usecase, context.data, apart)
        for n, answer in zip(in_sql, answers, strict=True):
            results[n] = answer.result
            for period, rows in answer.bad.items():
                quarantines[n].add(period, checks[n].reason, rows)
    quarantine = _together(checks, quarantines, results)
    released = let_go(quarantine, table, context.releases.of(table.name), context.data)
    findings = Findings(
        partitions, [results[n] for n in sorted(results)], quarantine, len(checks), disagreements, released
    )
    return assess(table, findings, context.params.validation, _missed(table, partitions, context))


def _missed(table: RawTable, partitions: Sequence[Partition], context: Context) -> list[Period]:
    """The periods without rows that should have some."""
    periods = [one.period for one in partitions if one.period is not None]
    if not table.daily or all(one.rows for one in partitions):
        return []
    calendar, data = context.calendar, context.data
    before = set(calendar.between(calendar.back(min(periods), WEEK - 1), min(periods))) if periods else set()
    rows = {
        period: data.store.count_rows(data.partition("raw", table.name, period))
        for period in sorted(before & set(data.periods("raw", table.name)))
        if table.days_a_week < WEEK
    }
    return missing(table, partitions, rows, calendar, closed_of(context.usecase))


def _set_apart(table: str, result: Result, frame: pd.DataFrame, chunk: Chunk, quarantine: Quarantine) -> list[str]:
    """Add the bad rows of a chunk to the quarantine; returns a message if the mask is wrong."""
    count = result.observed.get("unexpected_count")
    if result.check.severity is not Severity.QUARANTINE or result.error is not None:
        return []
    bad = bad_rows(frame, result.check.expectation)
    if int(bad.sum()) != count:
        return [
            f"{table}: {result.check.title}: the quarantine mask finds {int(bad.sum())} bad rows and "
            f"Great Expectations {count}; they must agree, so correct the mask"
        ]
    for partition, part in zip(chunk.partitions, _split(bad, chunk.partitions), strict=True):
        quarantine.add(partition.period, result.check.reason, np.flatnonzero(part))
    return []


def _split(mask: npt.NDArray[np.bool_], partitions: Sequence[Partition]) -> list[npt.NDArray[np.bool_]]:
    """A mask over a chunk, split into one for each of its partitions."""
    return np.split(mask, np.cumsum([partition.rows for partition in partitions])[:-1])


def _together(checks: Sequence[Check], quarantines: dict[int, Quarantine], results: dict[int, Result]) -> Quarantine:
    """The bad rows of the expectations that failed, in the order in which they are declared."""
    together = Quarantine()
    for n, quarantine in quarantines.items():
        if n in results and not results[n].success and results[n].error is None:
            for period in quarantine.periods:
                together.add(period, checks[n].reason, quarantine.rows(period))
    return together
