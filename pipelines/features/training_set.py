"""Build the point-in-time training, validation and test frames of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.context import Context
from pipelines.periods import name_of
from pipelines.steps import Instant, RunName, StepModel
from pipelines.verdict import Verdict
from pipelines.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa


class Inputs(StepModel):
    as_of: Instant = Field(description="instant whose knowledge is used: later labels and features stay unseen")
    data_version: str = Field(description="version of the raw data, as the snapshot step gave it")
    run: RunName = Field(description="name of this training run, part of every path it writes")
    feature_service: str | None = Field(None, description="what the models read; by default what params.yaml names")


class Outputs(StepModel):
    training_set_uri: str
    rows: dict[str, int]
    windows: dict[str, tuple[str, str]]


def run(inputs: Inputs, context: Context) -> Outputs:
    """Split by time with an embargo, read features as of each prediction, keep labels known at `as_of`.

    Where the use case declares auxiliary labels, another frame, `train_auxiliary`, holds the rows of the training
    window that have only such labels.

    Raises:
        InvalidInput: if the data do not reach back far enough, a frame would be empty, or the service is unknown; also
            if validated data or features are out of date.
        MissingData: if features lack a day.
    """
    import pyarrow as pa

    from pipelines.artifacts.manifest import InputColumns, Manifest
    from pipelines.derivation.staleness import require_current
    from pipelines.features.splits import split_windows
    from pipelines.offline.repository import registry_hash
    from pipelines.point_in_time import feature_frame
    from pipelines.usecase import auxiliary_of, inputs_of

    windows = split_windows(inputs.as_of, context.usecase, context.params.splits)
    whole = windows["test"].between(min(window.start for window in windows.values()), windows["test"].end)
    require_current(whole.in_periods(context.calendar.length), context)
    service = inputs.feature_service or context.params.features.service
    model_inputs = inputs_of(context.usecase, service)
    uri = context.data.uri("training_sets", inputs.run)
    auxiliary = auxiliary_of(context.usecase)
    rows, hashes = {}, {}
    for name, examples in split_examples(windows, inputs.as_of, auxiliary, context).items():
        frame = feature_frame(context, examples, service, model_inputs)
        hashes[name] = context.data.store.write_table(
            f"{uri}/{name}.parquet", pa.Table.from_pandas(frame, preserve_index=False)
        )
        rows[name] = len(frame)
    manifest = Manifest(
        as_of=inputs.as_of,
        data_version=inputs.data_version,
        feature_service=service,
        registry_hash=registry_hash(context.feast),
        windows={name: (window.start, window.end) for name, window in windows.items()},
        rows=rows,
        releases=context.releases.fingerprint(),
        validations=tuple(validated_windows(context, whole)),
        auxiliary=tuple(auxiliary),
        model_inputs=InputColumns(numeric=model_inputs.numeric, categorical=model_inputs.categorical),
        sha256=hashes,
    )
    manifest.write(context.data.store, uri)
    spans = {name: (start.isoformat(), end.isoformat()) for name, (start, end) in manifest.windows.items()}
    return Outputs(training_set_uri=uri, rows=rows, windows=spans)


def split_examples(
    windows: Mapping[str, Window], as_of: datetime, auxiliary: Sequence[str], context: Context
) -> dict[str, pa.Table]:
    """The examples of each frame, by the labels that are known at `as_of`.

    Raises:
        InvalidInput: if a window holds no known label.
    """
    from pipelines.features.splits import keep_auxiliary, keep_labelled, mask_auxiliary
    from pipelines.point_in_time import load_examples

    frames = {}
    for name, window in windows.items():
        examples = load_examples(context, window.in_periods(context.calendar.length))
        examples = mask_auxiliary(examples, as_of, auxiliary)
        frames[name] = keep_labelled(examples, as_of, name)
        if auxiliary and name == "train":
            frames["train_auxiliary"] = keep_auxiliary(examples, as_of, auxiliary)
    return frames


def validated_windows(context: Context, whole: Window) -> list[str]:
    """The windows, as START_END, that passed validation and overlap the days of `whole`."""
    from pipelines.records import DecisionKind

    decisions = [d for d in context.decisions.all(DecisionKind.VALIDATE) if d["verdict"] == Verdict.PASS]
    windows = {tuple(decision["evidence"]["subject"]["window"]) for decision in decisions}
    span = whole.in_periods(context.calendar.length)
    first, end = name_of(span.start), name_of(span.end)
    return sorted(f"{start}_{after}" for start, after in windows if start < end and after > first)
