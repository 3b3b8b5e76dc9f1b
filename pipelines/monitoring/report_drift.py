"""Report drift and performance of a monitored window against the model's test window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.periods import PeriodField
from pipelines.steps import Instant, RunName, StepModel
from pipelines.usecase import DAY, LABEL

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.artifacts.evaluation import Evaluation
    from pipelines.artifacts.summary import FeatureHealth, Summary
    from pipelines.context import Context
    from pipelines.store import Store
    from pipelines.usecase import ModelInputs
    from pipelines.windows import Window

DRIFT, QUALITY = "drift.html", "quality.html"  # pages of a report


class Inputs(StepModel):
    outcomes_uri: str = Field(description="predictions with matured labels, as written by join_outcomes")
    start: PeriodField = Field(description="first local day or period of the window")
    end: PeriodField = Field(description="the one after the last")
    evaluation_uri: str = Field(description="folder of the model's evaluation; its scored rows are the reference")
    as_of: Instant = Field(description="instant whose knowledge the outcomes hold")
    model_version: str = Field(description="registered version of the monitored model")
    model_sha256: str | None = Field(
        None, description="sha256 of the registered graph; none for a model that is not registered, as at the desk"
    )
    run: RunName = Field(description="name of this monitoring run, part of the paths it writes")
    track: bool = Field(default=False, description="also log the report to MLflow")


class Outputs(StepModel):
    report_uri: str
    quality_uri: str | None
    summary_uri: str
    metrics: dict[str, float | None]
    run_id: str | None


@dataclass(frozen=True)
class Pages:
    """The pages of a report; none of quality where it could not be drawn."""

    drift: bytes
    quality: bytes | None


def run(inputs: Inputs, context: Context) -> Outputs:
    """Measure, then save the Evidently reports (HTML, self-contained) and a summary (JSON).

    A column, page or report of feature health that cannot be computed or read is named in the summary, and the rest is
    reported: the decision rests on the figures, not on the pages.

    Raises:
        MissingData: if outcomes or reference are missing or empty.
        CorruptData: if the evaluation, or the model that it names, is damaged or of another model.
        InvalidInput: if the outcomes are of another model version or other days, or lack a column.
    """
    from pipelines.artifacts.evaluation import Evaluation
    from pipelines.monitoring.drift import measure_drift, sample
    from pipelines.monitoring.pages import headed, quality_html
    from pipelines.monitoring.summary import SummarySources, introduce, summarize

    store, window = context.data.store, context.window(inputs.start, inputs.end)
    evaluation = Evaluation.read(store, inputs.evaluation_uri)
    model_inputs = read_inputs(evaluation, inputs, context)
    current, reference = read_rows(evaluation, model_inputs, inputs, store)
    require_within(current[DAY], window, inputs.outcomes_uri)

    rows = context.params.monitoring.drift_sample
    sides = sample(current, rows), sample(reference, rows)
    drift = measure_drift(*sides, model_inputs)
    quality = quality_html(*sides)
    health, unread = read_health(current[DAY], inputs.as_of, context)
    left_out = unread if quality.why is None else {**unread, QUALITY: quality.why}
    sources = SummarySources(current, reference, drift, model_inputs, health, left_out)
    summary = summarize(sources, window, inputs.as_of, inputs.model_version)
    heading, lines = f"{context.usecase.name}, version {inputs.model_version}", introduce(summary)
    pages = Pages(
        drift=headed(drift.html, f"Drift of {heading}", lines),
        quality=headed(quality.html, f"Quality of {heading}", lines) if quality.html else None,
    )

    folder = context.data.uri("monitoring", inputs.run)
    write_report(folder, summary, pages, store)
    return Outputs(
        report_uri=f"{folder}/{DRIFT}",
        quality_uri=None if pages.quality is None else f"{folder}/{QUALITY}",
        summary_uri=summary.place(folder),
        metrics=summary.tracked,
        run_id=track_report(folder, summary, pages, inputs, context) if inputs.track else None,
    )


def read_inputs(evaluation: Evaluation, inputs: Inputs, context: Context) -> ModelInputs:
    """The inputs of the evaluated model, by its model.json.

    Raises:
        CorruptData: if the evaluation is of another model than the registered one.
    """
    from pipelines.artifacts.scorer import load_scorer

    evaluated_sha256, registered_sha256 = evaluation.model_sha256, inputs.model_sha256
    if registered_sha256 is not None and registered_sha256 != evaluated_sha256:
        raise CorruptData(
            f"{evaluation.place(inputs.evaluation_uri)} is of a model with sha256 {evaluated_sha256[:12]}, but "
            f"{registered_sha256[:12]} is registered; restore the evaluation, or choose another version"
        )
    return load_scorer(context.data.store, evaluation.model).inputs


def read_rows(
    evaluation: Evaluation, model_inputs: ModelInputs, inputs: Inputs, store: Store
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The outcomes of the window, and the scored rows of the model's test window.

    Raises:
        InvalidInput: if a column is missing, or the outcomes are of another model version.
        MissingData: if a table is missing or empty.
    """
    from pipelines.artifacts.evaluation import read_scored, scored_uri
    from pipelines.monitoring.predictions import MODEL_VERSION, SCORE

    columns = [*model_inputs.names, LABEL, SCORE]
    outcomes = store.read_table(inputs.outcomes_uri).to_pandas()
    current = require_columns(outcomes, [*columns, DAY, MODEL_VERSION], inputs.outcomes_uri)
    scored = read_scored(store, inputs.evaluation_uri, evaluation)
    reference = require_columns(scored, columns, scored_uri(inputs.evaluation_uri))
    others = sorted(set(current[MODEL_VERSION]) - {inputs.model_version})
    if others:
        raise InvalidInput(
            f"{inputs.outcomes_uri} holds scores of version {', '.join(map(str, others))}, not {inputs.model_version}; "
            "score the window with the version that is monitored"
        )
    return current, reference


def require_within(days: pd.Series[Any], window: Window, uri: str) -> None:
    """Check that outcomes are of the local days of the window: the summary will say so."""
    (first, last), (start, after) = (min(days), max(days)), window.local_days
    if first < start or last >= after:
        raise InvalidInput(f"{uri} has outcomes from {first} to {last}, which leave {window}; give their own window")


def read_health(days: Any, as_of: datetime, context: Context) -> tuple[FeatureHealth | None, dict[str, str]]:
    """The health that check_features reported for the days, and by name the reports that cannot be read, and why.

    Reports whose window begins at `as_of` or later do not count.
    """
    from pipelines.artifacts.feature_report import overlapping, read_feature_report
    from pipelines.monitoring.health import summarize_health

    folder = context.data.uri("reports", "features")
    reports, unread = [], {}
    first, end = (context.calendar.first_of(day) for day in (min(days), max(days) + timedelta(1)))
    end = min(end, context.calendar.containing(as_of))
    for name in overlapping(context.data.store.names(folder), first, end):
        try:
            reports.append(read_feature_report(context.data.store, f"{folder}/{name}"))
        except (CorruptData, MissingData) as error:
            unread[f"reports/features/{name}"] = str(error)
    return summarize_health(reports), unread


def write_report(folder: str, summary: Summary, pages: Pages, store: Store) -> None:
    """Write pages and summary; a page of quality that an earlier try has left is removed where there is none now."""
    store.write_bytes(f"{folder}/{DRIFT}", pages.drift)
    summary.write(store, folder)
    if pages.quality is None:
        store.delete(f"{folder}/{QUALITY}")
    else:
        store.write_bytes(f"{folder}/{QUALITY}", pages.quality)


def track_report(folder: str, summary: Summary, pages: Pages, inputs: Inputs, context: Context) -> str:
    """Log a written report to MLflow, and return the id of its run."""
    files = {DRIFT: pages.drift, summary.FILE: context.data.store.read_bytes(summary.place(folder))}
    return context.tracker.log_report(
        run=inputs.run,
        model_version=inputs.model_version,
        metrics={name: value for name, value in summary.tracked.items() if value is not None},
        files=files if pages.quality is None else {**files, QUALITY: pages.quality},
    )


def require_columns(frame: pd.DataFrame, columns: list[str], uri: str) -> pd.DataFrame:
    """The columns of a table; InvalidInput where one is missing, MissingData where the table is empty."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InvalidInput(f"{uri} lacks the columns {', '.join(missing)}; run the step that writes it again")
    if frame.empty:
        raise MissingData(f"{uri} has no rows; there is nothing to compare, so choose another window")
    return frame[columns]
