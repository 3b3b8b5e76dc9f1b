"""Report drift and performance of a monitored window against the model's test window."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.steps import Instant, RunName, StepModel
from pipelines.usecase import DAY, LABEL

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.usecase import ModelInputs


class Inputs(StepModel):
    outcomes_uri: str = Field(description="predictions with matured labels, as written by join_outcomes")
    evaluation_uri: str = Field(description="folder of the model's evaluation; its scored.parquet is the reference")
    as_of: Instant = Field(description="instant whose knowledge the outcomes hold")
    model_version: str = Field(description="registered version of the monitored model")
    model_sha256: str | None = Field(
        None, description="sha256 of the graph that was registered; none where nothing was, as at the desk"
    )
    run: RunName = Field(description="name of this monitoring run, part of the paths it writes")
    track: bool = Field(default=False, description="also log the report to MLflow")


class Outputs(StepModel):
    report_uri: str
    quality_uri: str | None
    summary_uri: str
    metrics: dict[str, float | None]
    run_id: str | None


def run(inputs: Inputs, context: Context) -> Outputs:
    """Measure, then save the Evidently reports (HTML, self-contained) and a summary (JSON).

    A column, page or report of feature health that cannot be told is named in the summary and keeps nothing from being
    reported: the decision rests on the figures, not on the pictures.

    Raises:
        MissingData: if outcomes or reference are not there, or empty.
        CorruptData: if the evaluation, or the model that it names, is not whole, or is about another model.
        InvalidInput: if the outcomes are of another model version or lack a column.
    """
    from pipelines.monitoring.drift import measure_drift, sample
    from pipelines.monitoring.pages import headed, quality_html
    from pipelines.monitoring.predictions import MODEL_VERSION, SCORE
    from pipelines.monitoring.summary import about, summarize, tracked_metrics

    store = context.data.store
    model_inputs = read_inputs(inputs.evaluation_uri, inputs.model_sha256, context)
    columns = [*model_inputs.names, LABEL, SCORE]
    current = read_frame(inputs.outcomes_uri, [*columns, DAY, MODEL_VERSION], context)
    reference = read_frame(f"{inputs.evaluation_uri}/scored.parquet", columns, context)
    others = sorted(set(current[MODEL_VERSION]) - {inputs.model_version})
    if others:
        raise InvalidInput(
            f"{inputs.outcomes_uri} holds scores of version {', '.join(map(str, others))}, not {inputs.model_version}; "
            "score the window with the version that is monitored"
        )

    rows = context.params.monitoring.drift_sample
    sides = sample(current, rows), sample(reference, rows)
    drift = measure_drift(*sides, model_inputs)
    quality = quality_html(*sides)
    health, unread = read_health(current[DAY], context)
    left_out = unread if quality.why is None else {**unread, "quality.html": quality.why}
    summary = summarize(current, reference, drift, model_inputs, inputs.as_of, inputs.model_version, health, left_out)
    heading = f"{context.usecase.name}, version {inputs.model_version}"
    drift_page = headed(drift.html, f"Drift of {heading}", about(summary))
    quality_page = headed(quality.html, f"Quality of {heading}", about(summary)) if quality.html else None

    folder = context.data.uri("monitoring", inputs.run)
    uris = {name: f"{folder}/{name}" for name in ("drift.html", "quality.html", "summary.json")}
    store.write_bytes(uris["drift.html"], drift_page)
    store.write_json(uris["summary.json"], summary)
    if quality_page is None:
        store.delete(uris["quality.html"])
    else:
        store.write_bytes(uris["quality.html"], quality_page)
    metrics = tracked_metrics(summary)
    run_id = None
    if inputs.track:
        files = {"drift.html": drift_page, "summary.json": store.read_bytes(uris["summary.json"])}
        run_id = context.tracker.log_report(
            run=inputs.run,
            model_version=inputs.model_version,
            metrics={name: value for name, value in metrics.items() if value is not None},
            files=files if quality_page is None else {**files, "quality.html": quality_page},
        )
    return Outputs(
        report_uri=uris["drift.html"],
        quality_uri=None if quality_page is None else uris["quality.html"],
        summary_uri=uris["summary.json"],
        metrics=metrics,
        run_id=run_id,
    )


def read_inputs(evaluation_uri: str, sha256: str | None, context: Context) -> ModelInputs:
    """What the evaluated model reads, by its own record; `sha256` as it was registered."""
    from pipelines.scorer import load_scorer
    from pipelines.seal import read_sealed

    uri, anew = f"{evaluation_uri.rstrip('/')}/metrics.json", "evaluate the model again"
    try:
        evaluation = read_sealed(context.data.store, uri, anew)
        model_uri, evaluated = str(evaluation["model_uri"]), str(evaluation["model_sha256"])
    except KeyError:
        raise CorruptData(f"{uri} names no model_uri and model_sha256; {anew}") from None
    if sha256 is not None and sha256 != evaluated:
        raise CorruptData(
            f"{uri} is about a model of sha256 {evaluated[:12]}, registered is {sha256[:12]}; restore the "
            "evaluation, or take another version"
        )
    return load_scorer(context.data.store, model_uri, sha256=evaluated).inputs


def read_health(days: Any, context: Context) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """What check_features reported about the days, and by name the reports that cannot be read, with the reason."""
    from pipelines.monitoring.health import overlapping, require_report, summarize_health

    folder = context.data.uri("reports", "features")
    reports, unread = [], {}
    for name in overlapping(context.data.store.names(folder), min(days), max(days) + timedelta(1)):
        try:
            reports.append(require_report(context.data.store.read_json(f"{folder}/{name}")))
        except (CorruptData, MissingData) as error:
            unread[f"reports/features/{name}"] = str(error)
    return summarize_health(reports), unread


def read_frame(uri: str, columns: list[str], context: Context) -> Any:
    """A table's columns as a pandas frame; never empty."""
    table = context.data.store.read_table(uri)
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise InvalidInput(f"{uri} lacks the columns {', '.join(missing)}; run the step that writes it again")
    if table.num_rows == 0:
        raise MissingData(f"{uri} has no rows; there is nothing to compare, so choose another window")
    return table.select(columns).to_pandas()
