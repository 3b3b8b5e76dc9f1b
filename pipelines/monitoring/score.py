"""Score the examples of a window with the features that were known when each was to be predicted."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import MissingData
from pipelines.periods import PeriodField
from pipelines.steps import Instant, RunName, StepModel

if TYPE_CHECKING:
    from pipelines.context import Context


class Inputs(StepModel):
    start: PeriodField = Field(description="first local day or period to score")
    end: PeriodField = Field(description="the one after the last")
    as_of: Instant = Field(description="instant whose knowledge is used; later predictions are left out")
    model_uri: str = Field(description="folder of the model, with model.onnx and model.json")
    model_version: str = Field(description="registered version of the model, written beside each score")
    model_sha256: str | None = Field(
        None, description="sha256 of the registered graph; none for a model that is not registered, as at the desk"
    )
    run: RunName = Field(description="name of this monitoring run, part of the paths it writes")


class Outputs(StepModel):
    predictions_uri: str
    rows: int


def run(inputs: Inputs, context: Context) -> Outputs:
    """Read point-in-time features, score them, save predictions without labels.

    Raises:
        MissingData: if the window has no example by `as_of`, or the model is missing.
        CorruptData: if the model is damaged, or not the one that was registered.
        CheckFailed: if a score is missing or not in [0, 1].
    """
    from pipelines.artifacts.evaluation import further_column
    from pipelines.artifacts.model import ModelRef
    from pipelines.artifacts.scorer import load_scorer
    from pipelines.monitoring.predictions import due_by, prediction_table
    from pipelines.point_in_time import feature_frame, load_examples

    window = context.window(inputs.start, inputs.end)
    store = context.data.store
    scorer = load_scorer(store, ModelRef(inputs.model_uri, inputs.model_sha256))
    examples = due_by(load_examples(context, window, ahead=timedelta(0)), inputs.as_of)
    if examples.num_rows == 0:
        raise MissingData(
            f"no example from {inputs.start} to {inputs.end} was to be predicted by {inputs.as_of.isoformat()}; "
            "validate the window or choose a later as_of"
        )
    frame = feature_frame(context, examples, scorer.model.card.training_set.feature_service, scorer.inputs)
    scores, outputs = scorer.score_all(frame)
    further = {further_column(name): outputs[:, n] for n, name in enumerate(scorer.further)}
    table = prediction_table(examples, frame, scores, scorer.inputs, inputs.model_version, further)
    uri = context.data.uri("predictions", inputs.run, "predictions.parquet")
    store.write_table(uri, table)
    return Outputs(predictions_uri=uri, rows=table.num_rows)
