"""Check raw tables against their expectations, and split their rows into validated and quarantined ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import CheckFailed, CorruptData
from pipelines.json_text import JsonObject
from pipelines.periods import PeriodField, name_of
from pipelines.steps import StepModel
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.context import Context
    from pipelines.usecase import RawTable
    from pipelines.validation.assessment import Assessment
    from pipelines.windows import Window

REASON = "reason"  # column of quarantined rows: reason codes joined by commas


class Inputs(StepModel):
    start: PeriodField = Field(description="first local day or period to validate")
    end: PeriodField = Field(description="the one after the last")
    since: PeriodField | None = Field(
        None, description="earlier one from which all that was ingested is validated again; `start` by default"
    )


class Outputs(StepModel):
    verdict: Verdict
    reasons: list[str]
    decision_id: str
    rows: dict[str, int]
    quarantined: dict[str, dict[str, int]]
    report_uri: str
    data_docs_uri: str = Field(description="page that leads to the Data Docs of each table")


@dataclass(frozen=True)
class Outcome:
    """The verdict on a window.

    Attributes:
        assessments: of its tables, by name.
    """

    window: Window
    assessments: Mapping[str, Assessment]
    verdict: Verdict
    reasons: tuple[str, ...]

    @property
    def span(self) -> list[str]:
        """The names of the window's first period and of the one after its last."""
        return [name_of(self.window.start), name_of(self.window.end)]

    @property
    def quarantined(self) -> dict[str, dict[str, int]]:
        """Rows by reason, for each table."""
        return {name: assessment.quarantined for name, assessment in self.assessments.items()}

    def as_json(self) -> JsonObject:
        return {
            "window": self.span,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "tables": {name: assessment.as_json() for name, assessment in self.assessments.items()},
        }


def run(inputs: Inputs, context: Context) -> Outputs:
    """Validate every table of the window, then write `validated/` and `quarantine/`, unless the window is rejected.

    Raises:
        InvalidInput: if an expectation is declared with a severity it cannot have.
        MissingData: if a period was not ingested.
        CheckFailed: if the verdict is REJECT; report and decision are written, `validated/` is not.
    """
    from pipelines.validation.chunks import periods_of
    from pipelines.validation.judging import judge
    from pipelines.validation.suite import checks_of, quiet

    quiet()
    window = context.window(min(inputs.since or inputs.start, inputs.start), inputs.end)
    tables = sorted(context.usecase.tables, key=lambda one: one.daily)  # reference tables first
    checks = {one.name: checks_of(one.name, context.usecase.expectations(one), one.daily) for one in tables}
    periods_by_table = {one.name: periods_of(one, window, inputs.start, context.data) for one in tables}
    assessments: dict[str, Assessment] = {}
    for one in tables:
        assessments[one.name] = judge(one, periods_by_table[one.name], checks[one.name], context, assessments)

    rejections = [reason for assessment in assessments.values() for reason in assessment.rejections]
    warnings = [reason for assessment in assessments.values() for reason in assessment.warnings]
    verdict = Verdict.REJECT if rejections or not assessments else Verdict.PASS
    warnings += [note for one in tables if not one.daily for note in outdated(one, assessments[one.name], context)]
    reasons = rejections + warnings or [summary({name: len(checks[name]) for name in assessments})]
    outcome = Outcome(window, assessments, verdict, tuple(reasons))
    data_docs_uri = write_data_docs(outcome, context)
    report_uri = write_report(outcome, context)
    decision_id = record_decision(outcome, report_uri, data_docs_uri, context)
    if verdict is Verdict.REJECT:
        raise CheckFailed(f"{'; '.join(rejections) or reasons[0]} (report: {report_uri})")

    rows = {one.name: write_parts(one, assessments[one.name], context) for one in tables}
    return Outputs(
        verdict=verdict,
        reasons=reasons,
        decision_id=decision_id,
        rows=rows,
        quarantined=outcome.quarantined,
        report_uri=report_uri,
        data_docs_uri=data_docs_uri,
    )


def write_data_docs(outcome: Outcome, context: Context) -> str:
    """Write a page for each table and an index page, and return the URI of the index."""
    from pipelines.validation.data_docs import index, pages

    window, assessments = outcome.window, outcome.assessments
    title = f"{context.usecase.name}, {window}"
    folder = context.data.uri("reports", "validation", "_".join(outcome.span))
    for name, text in pages(assessments, title, window.end_at).items():
        context.data.store.write_bytes(f"{folder}/{name}.html", text.encode())
    uri = f"{folder}/index.html"
    page = index(f"{title}: {outcome.verdict}", assessments, outcome.reasons)
    context.data.store.write_bytes(uri, page.encode())
    return uri


def write_report(outcome: Outcome, context: Context) -> str:
    """Write the outcome as JSON, and return its URI."""
    uri = context.data.uri("reports", "validation", f"{'_'.join(outcome.span)}.json")
    context.data.store.write_json(uri, outcome.as_json())
    return uri


def record_decision(outcome: Outcome, report_uri: str, data_docs_uri: str, context: Context) -> str:
    """Record the verdict, and return the decision's id."""
    from pipelines.records import Decision, DecisionKind

    return context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.VALIDATE,
            as_of=outcome.window.end_at,
            verdict=outcome.verdict,
            reasons=outcome.reasons,
            subject={"window": outcome.span},
            evidence={
                "rows": {name: assessment.rows for name, assessment in outcome.assessments.items()},
                "quarantined": outcome.quarantined,
                "report_uri": report_uri,
                "data_docs_uri": data_docs_uri,
            },
        )
    )


def write_parts(table: RawTable, assessment: Assessment, context: Context) -> int:
    """Write clean and bad rows, a partition at a time, and return the number of clean ones.

    Raises:
        CorruptData: if a partition has changed since it was judged; a new run loses nothing.
    """
    import numpy as np
    import pyarrow as pa

    from pipelines.records import Validated
    from pipelines.store.layout import partition_name
    from pipelines.validation.chunks import read_partition

    store, clean_rows, notes = context.data.store, 0, {}
    for judged in assessment.partitions:
        partition, rows = read_partition(table, judged.period, context.data)
        if partition != judged:
            raise CorruptData(
                f"raw/{table.name} of {partition_name(judged.period)} changed while it was validated; run again"
            )
        codes = assessment.quarantine.codes(judged.period)
        clean = np.ones(rows.num_rows, dtype=bool)
        clean[list(codes)] = False
        quarantine = context.data.partition("quarantine", table.name, judged.period)
        if codes:
            reasons = pa.array(list(codes.values()), pa.string())
            store.write_table(quarantine, rows.take(list(codes)).append_column(REASON, reasons))
        else:
            store.delete(quarantine)
        content = store.encode(rows.filter(pa.array(clean)))
        sha256 = store.write_bytes(context.data.partition("validated", table.name, judged.period), content)
        notes[partition_name(judged.period)] = Validated(judged.sha256, sha256, store.column_digests(content))
        clean_rows += int(clean.sum())
    context.derivations.note_validated(table.name, notes)
    return clean_rows


def outdated(table: RawTable, assessment: Assessment, context: Context) -> list[str]:
    """The message that a reference table has changed since the features of earlier periods were built, if it has."""
    from pipelines.derivation.downstream import downstream
    from pipelines.store.layout import REFERENCE

    previous = context.derivations.validated(table.name).get(REFERENCE)
    if previous is None or previous.raw == assessment.partitions[0].sha256:
        return []
    spans = [span for span in downstream(table.name, None, context).features.values() if span]
    if not spans:
        return []
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    return [
        f"{table.name} has changed, and features from {first} to {last} rest on what it was: to bring them up to date, "
        f"validate and build_features {context.calendar.flags(first, last)}"
    ]


def summary(expectations: dict[str, int]) -> str:
    if not expectations:
        return "the use case names no tables; there is nothing to validate"
    return f"all of {sum(expectations.values())} expectations of {len(expectations)} tables were met or set rows apart"
