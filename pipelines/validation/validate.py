"""Check raw tables against their expectations, set bad rows apart, and let the clean ones on."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.errors import CheckFailed, CorruptData
from pipelines.steps import StepModel
from pipelines.usecase import DAY
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from pipelines.context import Context
    from pipelines.usecase import RawTable
    from pipelines.windows import Window


class Inputs(StepModel):
    start: date = Field(description="first local day to validate")
    end: date = Field(description="day after the last one")


class Outputs(StepModel):
    verdict: Verdict
    reasons: list[str]
    decision_id: str
    rows: dict[str, int]
    quarantined: dict[str, dict[str, int]]
    report_uri: str


def run(inputs: Inputs, context: Context) -> Outputs:
    """Validate every table of the window, then write `validated/` and `quarantine/`; all or nothing.

    Raises:
        InvalidInput: if an expectation is declared with a severity it cannot have.
        MissingData: if a day was not ingested.
        CheckFailed: if the verdict is REJECT; report and decision are written, `validated/` is not.
    """
    from pipelines.records import Decision
    from pipelines.validation.assessment import assess
    from pipelines.validation.suite import batch_frame, declared, quiet

    quiet()
    window = context.window(inputs.start, inputs.end)
    checks = {table.name: declared(table.name, context.usecase.expectations(table)) for table in context.usecase.tables}
    tables = {table.name: read_raw(table, window, context) for table in context.usecase.tables}
    max_share = context.params.validation.max_quarantine_share
    found = {
        table.name: assess(
            table.name,
            batch_frame(tables[table.name]),
            checks[table.name],
            max_share,
            empty_days(table, tables[table.name], window),
            table.required,
        )
        for table in context.usecase.tables
    }

    rejections = [reason for assessment in found.values() for reason in assessment.rejections]
    warned = [reason for assessment in found.values() for reason in assessment.warnings]
    verdict = Verdict.REJECT if rejections or not found else Verdict.PASS
    reasons = rejections + warned or [summary({name: len(checks[name]) for name in found})]
    days = [inputs.start.isoformat(), inputs.end.isoformat()]
    report_uri = context.data.uri("reports", "validation", f"{days[0]}_{days[1]}.json")
    quarantined = {name: assessment.quarantined for name, assessment in found.items()}
    report: dict[str, Any] = {"window": days, "verdict": verdict, "reasons": reasons}
    report["tables"] = {name: assessment.as_json() for name, assessment in found.items()}
    context.data.store.write_json(report_uri, report)
    decision_id = context.records.record(
        Decision(
            usecase=context.usecase.name,
            kind="validate",
            as_of=window.end_at,
            verdict=verdict,
            reasons=tuple(reasons),
            subject={"window": days},
            evidence={
                "rows": {name: assessment.rows for name, assessment in found.items()},
                "quarantined": quarantined,
                "report_uri": report_uri,
            },
        )
    )
    if verdict is Verdict.REJECT:
        raise CheckFailed(f"{'; '.join(rejections) or reasons[0]} (report: {report_uri})")

    rows = {
        table.name: write_parts(table, tables[table.name], found[table.name].codes, window, context)
        for table in context.usecase.tables
    }
    return Outputs(
        verdict=verdict,
        reasons=reasons,
        decision_id=decision_id,
        rows=rows,
        quarantined=quarantined,
        report_uri=report_uri,
    )


def read_raw(table: RawTable, window: Window, context: Context) -> pa.Table:
    """A raw table's rows, every one of them on a day of the window."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not table.daily:
        return context.data.read_reference("raw", table.name)
    rows = context.data.read("raw", table.name, window.start, window.end)
    if DAY not in rows.column_names:
        raise CorruptData(f"raw/{table.name} has no column {DAY}; a daily table needs it, so ingest the window again")
    known = pa.array(window.days, pa.date32())
    elsewhere = rows.num_rows - (pc.sum(pc.is_in(rows[DAY], value_set=known)).as_py() or 0)
    if elsewhere:
        raise CorruptData(
            f"raw/{table.name}: {elsewhere} rows have a {DAY} outside {window.start} to {window.end}; ingest them again"
        )
    return rows


def empty_days(table: RawTable, rows: pa.Table, window: Window) -> list[date]:
    """Days of the window on which a daily table has no row."""
    return sorted(set(window.days) - set(rows[DAY].unique().to_pylist())) if table.daily else []


def write_parts(table: RawTable, rows: pa.Table, codes: Sequence[str], window: Window, context: Context) -> int:
    """Write clean and bad rows, a partition a day, and give the number of clean ones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    reason = pa.array(codes, pa.string())
    is_clean = pc.equal(reason, "")
    clean = rows.filter(is_clean)
    bad = rows.append_column("reason", reason).filter(pc.invert(is_clean))
    days: list[date | None] = list(window.days) if table.daily else [None]
    for day in days:
        quarantine = context.data.partition("quarantine", table.name, day)
        if (bad_part := part(bad, day)).num_rows:
            context.data.store.write_table(quarantine, bad_part)
        else:
            context.data.store.delete(quarantine)
        context.data.store.write_table(context.data.partition("validated", table.name, day), part(clean, day))
    return int(clean.num_rows)


def part(rows: pa.Table, day: date | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows if day is None else rows.filter(pc.equal(rows[DAY], pa.scalar(day, pa.date32())))


def summary(expectations: dict[str, int]) -> str:
    if not expectations:
        return "the use case names no tables; there is nothing to validate"
    return f"all of {sum(expectations.values())} expectations of {len(expectations)} tables were met or set rows apart"
