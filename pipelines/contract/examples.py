"""The checks of examples and their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract.difference import difference
from pipelines.contract.report import CheckReport, Skipped
from pipelines.contract.subject import CheckedUseCase, within
from pipelines.errors import InvalidInput
from pipelines.instants import MICROSECOND
from pipelines.instants.arrow import INSTANT
from pipelines.periods import A_DAY
from pipelines.point_in_time import require_in_time
from pipelines.usecase import (
    BLOCK,
    DAY,
    EXAMPLE_ID,
    LABEL,
    LABEL_KNOWN_AT,
    PREDICTED_AT,
    UseCase,
    auxiliary_of,
    known_at_of,
    looks_ahead_of,
)

PIECES, CUTS = 14, 3
DECILES, FEW = 10, 30  # of the ages of labels; positives that a comparison needs
OFTEN, SURELY = 2.0, 4.0  # times as often, and standard errors
Kind = Callable[[pa.DataType], bool]


def examples(subject: CheckedUseCase) -> CheckReport:
    """Examples have their columns, unique ids and days of the window, and are the same when built day by day."""
    report, usecase, window = CheckReport(), subject.usecase, subject.window
    rows = subject.raw_examples(window)
    report.findings += _column_problems(usecase, rows)
    if report.findings:
        return report
    if not rows.num_rows:
        raise Skipped(f"there is no example in {window}; give another --start and --end")
    for name in (EXAMPLE_ID, PREDICTED_AT, DAY):
        if rows[name].null_count:
            report.findings.append(f"{name} is null in {rows[name].null_count} examples; give it in all")
    first, after = window.local_days
    outside = rows.filter(pc.invert(within(rows[DAY], window.in_periods(A_DAY))))
    if outside.num_rows:
        report.findings.append(
            f"{outside.num_rows} examples have a {DAY} outside of {first} to {after}, such as {outside[DAY][0]}; give "
            "those of the window alone"
        )
    ids = pc.value_counts(rows[EXAMPLE_ID])
    twice = ids.filter(pc.greater(ids.field("counts"), 1))
    if len(twice):
        report.findings.append(f"{len(twice)} {EXAMPLE_ID}s occur more than once, such as {twice[0]['values']}")
    report.findings += _piecewise(subject, rows)
    return report


def _piecewise(subject: CheckedUseCase, rows: pa.Table) -> Iterator[str]:
    """How the examples differ from those built in pieces; labels are left to another check."""
    periods = [*subject.window.periods, subject.window.end]
    bounds = [periods[n] for n in np.linspace(0, len(periods) - 1, min(PIECES, len(periods) - 1) + 1).astype(int)]
    pieces = pa.concat_tables(
        [subject.raw_examples(subject.window.between(*ends)) for ends in pairwise(bounds)], promote_options="permissive"
    )
    labels = {name for one in (LABEL, *auxiliary_of(subject.usecase)) for name in (one, _known(one))}
    kept = [name for name in rows.column_names if name not in labels]
    how = difference(rows.select(kept), pieces.select(kept), (EXAMPLE_ID,))
    if how:
        yield f"of the window's examples {how} when its days are asked for one by one; let no example rest on others"


def _column_problems(usecase: UseCase, rows: pa.Table) -> Iterator[str]:
    labels: dict[str, Kind] = {}
    for name in (LABEL, *auxiliary_of(usecase)):
        labels |= {name: _is_label, _known(name): _is_instant}
    kinds: dict[str, Kind] = {EXAMPLE_ID: _is_text, PREDICTED_AT: _is_instant, DAY: _is_day, **labels}
    wanted = {**kinds, **dict.fromkeys(usecase.request_columns, _is_any)}
    if BLOCK in rows.column_names:
        wanted[BLOCK] = _is_text
    for name, fits in wanted.items():
        if name not in rows.column_names:
            yield f"the examples lack {name}; add it"
        elif not (fits(rows[name].type) or rows[name].null_count == rows.num_rows):
            yield f"the examples have {name} as {rows[name].type}; give the type that docs/own-data.md lists"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_any(kind: pa.DataType) -> bool:
    return True


def _is_day(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date32(kind))


def _is_instant(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None)


def _is_label(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _known(label: str) -> str:
    return LABEL_KNOWN_AT if label == LABEL else known_at_of(label)


def labels(subject: CheckedUseCase) -> CheckReport:
    """Labels are 0, 1 or null, known within their maturity, and once matured the same whatever comes later."""
    report, usecase, window = CheckReport(), subject.usecase, subject.window
    rows = subject.examples(window, subject.reach.end)
    due = subject.due(rows)
    for name in (LABEL, *auxiliary_of(usecase)):
        values = due[name].cast(pa.float64())
        strange = [one for one in pc.unique(values).to_pylist() if one not in (0.0, 1.0, None)]
        if strange:
            report.findings.append(f"{name} has the value {strange[0]}; give 0.0, 1.0 or null")
        unpaired = pc.xor(pc.is_null(values), pc.is_null(due[_known(name)]))
        if pc.any(unpaired).as_py():
            example = due[EXAMPLE_ID][pc.index(unpaired, True).as_py()]
            report.findings.append(f"{name} and {_known(name)} of {example}: one is null, and one is not; give both")
    try:
        require_in_time(due, usecase)
    except InvalidInput as error:
        report.findings.append(str(error))
    report.findings += _changed(subject)
    return report


def _changed(subject: CheckedUseCase) -> Iterator[str]:
    """Whether a matured label changes with days after those that it reads or that had ended by its maturity."""
    names = [name for one in (LABEL, *auxiliary_of(subject.usecase)) for name in (one, _known(one))]
    window, calendar, draw = subject.window, subject.window.calendar, subject.draw()
    inside = [one for one in (*window.periods[1:], window.end) if one < subject.reach.end]
    for n in sorted(draw.permutation(len(inside))[:CUTS]):
        cut = inside[n]
        part, at = window.between(window.start, cut), calendar.start_at(cut)
        later = subject.due(subject.examples(part, subject.reach.end), subject.reach.end_at)
        reads = subject.due(subject.examples(part), subject.reach.end_at)
        by_then = [subject.due(rows, at) for rows in (subject.examples(part, cut), later)]
        for seen, all_days, when in (
            (reads, later, f"with looks_ahead, {looks_ahead_of(subject.usecase)}"),
            (*by_then, f"with all days before {cut}"),
        ):
            columns = [EXAMPLE_ID, *names]
            how = difference(seen.select(columns), all_days.select(columns), (EXAMPLE_ID,))
            if how:
                yield (
                    f"of matured labels {how} {when}, and with later days; declare how far `examples` reads "
                    "(looks_ahead, and a maturity that covers it), or let it read no further"
                )
                return


def early_positives(subject: CheckedUseCase) -> CheckReport:
    """How often labels are positive, by the age at which they are known; this check never fails."""
    report = CheckReport()
    rows = subject.due(subject.examples(subject.window, subject.reach.end))
    rows = rows.filter(pc.and_(pc.is_valid(rows[LABEL]), pc.is_valid(rows[LABEL_KNOWN_AT])))
    known, at = (
        np.asarray(rows[name].cast(INSTANT, safe=False).cast(pa.int64())) for name in (LABEL_KNOWN_AT, PREDICTED_AT)
    )
    label = np.asarray(rows[LABEL].cast(pa.float64()))
    if (label == 1).sum() < FEW:
        raise Skipped(f"of the matured labels only {int((label == 1).sum())} are positive; give a longer window")
    ages = known - at
    edges = np.unique(np.quantile(ages, np.linspace(0, 1, DECILES + 1), method="higher"))
    deciles = np.searchsorted(edges[1:-1], ages, side="left")
    for n in np.unique(deciles):
        here = deciles == n
        oldest = MICROSECOND * int(ages[here].max())
        report.notes.append(
            f"known up to {oldest} after the prediction: {label[here].mean():.1%} of {here.sum()} positive"
        )
    early, last = label[deciles < deciles.max()], label[deciles == deciles.max()]
    if len(early):
        error = np.sqrt(label.mean() * (1 - label.mean()) * (1 / len(early) + 1 / len(last)))
        if early.mean() > OFTEN * last.mean() and early.mean() - last.mean() > SURELY * error:
            report.notes.append(
                f"labels that are known early are far more often positive ({early.mean():.1%}, the last ones "
                f"{last.mean():.1%}): no label counts before its maturity, {subject.usecase.maturity}, else the "
                "youngest were all positive"
            )
    return report
