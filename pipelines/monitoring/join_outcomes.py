"""Join matured labels to the predictions of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.periods import PeriodField
from pipelines.steps import Instant, RunName, StepModel

if TYPE_CHECKING:
    from pipelines.context import Context


class Inputs(StepModel):
    predictions_uri: str = Field(description="predictions of the window, as written by score")
    start: PeriodField = Field(description="first local day or period of the window")
    end: PeriodField = Field(description="the one after the last")
    as_of: Instant = Field(description="instant by which a label must be known to count")
    run: RunName = Field(description="name of this monitoring run, part of the paths it writes")


class Outputs(StepModel):
    outcomes_uri: str
    matured: int
    unmatured: int
    without_label: int


def run(inputs: Inputs, context: Context) -> Outputs:
    """Save the predictions with the labels known at `as_of`, and count matured, unmatured and missing labels.

    Raises:
        MissingData: if the predictions or the window's data are missing.
        InvalidInput: if a prediction has no example in the window.
        CorruptData: if an example appears twice.
    """
    from pipelines.monitoring.outcomes import join_labels, maturity_counts
    from pipelines.point_in_time import load_examples, require_in_time, seen_until

    predictions = context.data.store.read_table(inputs.predictions_uri)
    examples = load_examples(context, context.window(inputs.start, inputs.end), inputs.as_of)
    require_in_time(examples, context.usecase)
    outcomes = join_labels(predictions, examples, seen_until(context, inputs.as_of), context.usecase.maturity)
    counts = maturity_counts(outcomes)
    uri = context.data.uri("outcomes", inputs.run, "outcomes.parquet")
    context.data.store.write_table(uri, outcomes.drop_columns(["status"]))
    return Outputs(outcomes_uri=uri, **counts)
