"""Score the test frame with a model and measure it: metrics, costs, curves, slices, importance and behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.steps import RunName, StepModel

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.training.evaluation import Measurements, Subject


class Inputs(StepModel):
    model_uri: str = Field(description="folder of the model")
    training_set_uri: str = Field(description="folder of the training set whose test frame is scored")
    run: RunName = Field(description="the caller's name for this training run, part of every path it writes")


class Outputs(StepModel):
    evaluation_uri: str
    family: str
    metrics: dict[str, float | None]
    behaviour: dict[str, str] = Field(description="by behavioural test: passed, failed or could_not_run")
    cleaning: dict[str, dict[str, float]] = Field(description="by window, the rows and shares that cleaning changed")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.training.evaluation import measure

    subject = read(inputs, context)
    measurements = measure(subject, context.usecase, context.params)
    uri = write(subject, measurements, inputs, context)
    return Outputs(
        evaluation_uri=uri,
        family=subject.scorer.model.card.family,
        metrics=measurements.metrics,
        behaviour={result.name: result.status for result in measurements.behaviour},
        cleaning=measurements.cleaning,
    )


def read(inputs: Inputs, context: Context) -> Subject:
    """Read the model and the test frame, and score the frame.

    Raises:
        MissingData, CorruptData: if a file is missing or altered.
        InvalidInput: if the model was trained on another training set.
    """
    from pipelines.artifacts.manifest import Manifest
    from pipelines.artifacts.model import ModelRef
    from pipelines.artifacts.scorer import load_scorer
    from pipelines.training.evaluation import Subject
    from pipelines.training.frames import read_auxiliary, read_frame

    store = context.data.store
    manifest = Manifest.read(store, inputs.training_set_uri)
    scorer = load_scorer(store, ModelRef(inputs.model_uri))
    if scorer.model.card.training_set.sha256 != manifest.files:
        raise InvalidInput(
            f"{inputs.model_uri} was trained on another set than {inputs.training_set_uri}; give that set"
        )
    test = read_frame(store, inputs.training_set_uri, "test", manifest)
    others = test.iloc[:0]
    if scorer.further and "test_auxiliary" in manifest.sha256:
        others = read_auxiliary(store, inputs.training_set_uri, manifest, "test")
    return Subject(scorer, manifest, test, *scorer.score_all(test), others)


def write(subject: Subject, measurements: Measurements, inputs: Inputs, context: Context) -> str:
    """Write the evaluation (scored rows, curves, plots, and metrics.json last), and give its folder."""
    import pyarrow as pa

    from pipelines.artifacts.evaluation import CLEANING, SCORED, Evaluation
    from pipelines.training.plots import pictures

    store, model = context.data.store, subject.scorer.model
    uri = context.data.uri("evaluations", inputs.run, model.card.family)
    table = pa.Table.from_pandas(subject.scored, preserve_index=False).replace_schema_metadata(None)
    digest = store.write_table(f"{uri}/{SCORED}", table)
    for name, rows in measurements.curves.items():
        store.write_bytes(f"{uri}/{name}.csv", rows.to_csv(index=False, float_format="%.6g").encode())
    store.write_json(f"{uri}/{CLEANING}", measurements.cleaned.as_json())
    evaluation = Evaluation(
        family=model.card.family,
        model_uri=model.uri,
        model_sha256=model.sha256,
        training_set_uri=inputs.training_set_uri,
        window=subject.manifest.windows["test"],
        rows=len(subject.test),
        days=measurements.days,
        metrics=measurements.metrics,
        intervals=measurements.intervals,
        slices=measurements.slices,
        worst_slice=measurements.worst_slice,
        threshold=measurements.threshold,
        behaviour=measurements.behaviour,
        cleaning=measurements.cleaning,
        sha256={SCORED: digest},
    )
    if measurements.blocks is not None:
        evaluation = evaluation.model_copy(update={"blocks": measurements.blocks})
    for picture, content in pictures(evaluation, measurements.curves).items():
        store.write_bytes(f"{uri}/{picture}", content)
    evaluation.write(store, uri)
    return uri
