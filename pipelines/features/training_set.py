"""Build the point-in-time training, validation and test frames of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.context import Context
from pipelines.errors import InvalidInput
from pipelines.periods import name_of
from pipelines.steps import Instant, RunName, StepModel
from pipelines.verdict import Verdict
from pipelines.windows import Window

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from pipelines.usecase import UseCase


CHECKED_DAYS = 7  # of a window's end, besides as many as labels take


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

    Where the use case declares auxiliary labels, two more frames, `train_auxiliary` and `test_auxiliary`, hold the rows
    of these windows that have only such labels.

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
    whole = windows["test"].between(windows["train"].start, windows["test"].end)
    require_current(whole.in_periods(context.calendar.length), context)
    for one in last_days(windows, context.usecase.maturity):
        require_settled(one, inputs.as_of, context)
    service = inputs.feature_service or context.params.features.service
    model_inputs, auxiliary = inputs_of(context.usecase, service), auxiliary_of(context.usecase)
    uri, rows, hashes = context.data.uri("training_sets", inputs.run), {}, {}
    for name, examples in split_examples(windows, inputs.as_of, auxiliary, context).items():
        frame = with_slices(feature_frame(context, examples, service, model_inputs), context.usecase)
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


def with_slices(frame: pd.DataFrame, usecase: UseCase) -> pd.DataFrame:
    """A frame, if it has the columns by which evaluation is broken down.

    Raises:
        InvalidInput: naming those that it lacks.
    """
    if lacking := sorted(set(usecase.slices) - set(frame.columns)):
        raise InvalidInput(
            f"slices of {usecase.name} are by {', '.join(lacking)}, which neither the examples nor request_features "
            "have; correct the names"
        )
    return frame


def split_examples(
    windows: Mapping[str, Window], as_of: datetime, auxiliary: Sequence[str], context: Context
) -> dict[str, pa.Table]:
    """The examples of each frame whose labels are all known at `as_of`.

    Raises:
        InvalidInput: if a window holds no known label.
    """
    from pipelines.features.splits import keep_auxiliary, keep_labelled, mask_auxiliary
    from pipelines.point_in_time import load_examples, matured, require_in_time, seen_until

    frames = {}
    for name, window in windows.items():
        examples = load_examples(context, window.in_periods(context.calendar.length), as_of)
        require_in_time(examples, context.usecase)
        examples = matured(examples, context.usecase.maturity, seen_until(context, as_of))
        examples = mask_auxiliary(examples, as_of, auxiliary)
        frames[name] = keep_labelled(examples, as_of, name)
        if auxiliary and name in ("train", "test"):
            frames[f"{name}_auxiliary"] = keep_auxiliary(examples, as_of, auxiliary)
    return frames


def last_days(windows: Mapping[str, Window], maturity: timedelta) -> list[Window]:
    """The ends of windows that later days follow, whose labels change first where they read on.

    Each is a week longer than labels take.
    """
    days, followed = timedelta(CHECKED_DAYS - -maturity // timedelta(1)), (windows["train"], windows["validation"])
    return [window.between(max(window.start, window.end - days), window.end) for window in followed]


def require_settled(window: Window, as_of: datetime, context: Context) -> None:
    """Check that labels are the same with the periods that they look ahead and with all that had ended by `as_of`.

    Args:
        window: one whose labels are all known at `as_of`, and behind which there are more periods than that.

    Raises:
        InvalidInput: naming the first example whose label differs.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.point_in_time import load_examples
    from pipelines.usecase import EXAMPLE_ID, LABEL, auxiliary_of, looks_ahead_of

    periods, labels = window.in_periods(context.calendar.length), (LABEL, *auxiliary_of(context.usecase))
    seen, later = (
        load_examples(context, periods, as_of, ahead).sort_by(EXAMPLE_ID) for ahead in (None, as_of - periods.end_at)
    )
    what = ""
    if not seen[EXAMPLE_ID].equals(later[EXAMPLE_ID]):
        what = f"the window {window} has {seen.num_rows} examples, and {later.num_rows} or others"
    for label in labels if not what else ():
        if label not in seen.column_names:
            continue  # auxiliary, and refused where it is read
        before, after = (table[label].cast(pa.float64()) for table in (seen, later))
        same = pc.or_(pc.fill_null(pc.equal(before, after), False), pc.and_(_is_missing(before), _is_missing(after)))
        if (row := pc.index(same, False).as_py()) >= 0:
            what = f"the {label} of {seen[EXAMPLE_ID][row]} is {before[row]}, and {after[row]}"
    if what:
        raise InvalidInput(
            f"{what} once all days up to {as_of.isoformat()} are there. `examples` reads beyond looks_ahead, "
            f"{looks_ahead_of(context.usecase)}; declare how far it reads (and a maturity that covers it), or let it "
            "read no further"
        )


def _is_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.or_(pc.is_null(column), pc.fill_null(pc.is_nan(column), True))


def validated_windows(context: Context, whole: Window) -> list[str]:
    """The windows, as START_END, that passed validation and overlap the days of `whole`."""
    from pipelines.records import DecisionKind

    decisions = [d for d in context.decisions.all(DecisionKind.VALIDATE) if d["verdict"] == Verdict.PASS]
    windows = {tuple(decision["evidence"]["subject"]["window"]) for decision in decisions}
    span = whole.in_periods(context.calendar.length)
    first, end = name_of(span.start), name_of(span.end)
    return sorted(f"{start}_{after}" for start, after in windows if start < end and after > first)
