"""Decide whether the monitored model should be retrained, kept, or judged later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.periods import PeriodField, name_of
from pipelines.steps import Instant, StepModel

if TYPE_CHECKING:
    from pipelines.artifacts.summary import Summary
    from pipelines.context import Context
    from pipelines.windows import Window


class Inputs(StepModel):
    summary_uri: str = Field(description="summary of the window, as written by report_drift")
    as_of: Instant = Field(description="instant whose knowledge the summary holds")
    start: PeriodField = Field(description="first local day or period of the monitored window")
    end: PeriodField = Field(description="the one after the last")
    model_version: str = Field(description="registered version of the monitored model")


class Outputs(StepModel):
    verdict: Literal["RETRAIN", "KEEP", "HOLD"]
    reasons: list[str]
    decision_id: str


def run(inputs: Inputs, context: Context) -> Outputs:
    """Check the summary against the gates of params.yaml and record the decision.

    Raises:
        InvalidInput: if the summary is of another model version, window or instant.
    """
    from pipelines.artifacts.summary import read_summary
    from pipelines.monitoring.retraining import decide
    from pipelines.records import Decision, DecisionKind

    window = context.window(inputs.start, inputs.end)
    summary = require_same(inputs, window, read_summary(context.data.store, inputs.summary_uri))
    rules = context.params.monitoring
    verdict, reasons = decide(summary, rules.retrain_when_failing, rules.min_labelled)
    decision_id = context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.RETRAIN,
            as_of=inputs.as_of,
            verdict=verdict,
            reasons=tuple(reasons),
            subject={
                "window": [name_of(inputs.start), name_of(inputs.end)],
                "model_version": inputs.model_version,
            },
            evidence={"summary": summary.figures, "gates": [gate.model_dump() for gate in rules.retrain_when_failing]},
        )
    )
    return Outputs(verdict=verdict.value, reasons=reasons, decision_id=decision_id)


def require_same(inputs: Inputs, window: Window, summary: Summary) -> Summary:
    """The summary, if it is of the model, window and instant of the inputs.

    Raises:
        InvalidInput: if it is not, naming both.
    """
    written = summary.model_version, summary.as_of, summary.window
    if written != (inputs.model_version, inputs.as_of, (window.start, window.end)):
        first, last = summary.window
        raise InvalidInput(
            f"{inputs.summary_uri} is of version {summary.model_version} as of {summary.as_of}, {first} to {last}, not "
            f"of version {inputs.model_version} as of {inputs.as_of.isoformat()}, {window}; "
            f"give the summary of the window that is decided on, or {summary.REMEDY} on that window"
        )
    return summary
