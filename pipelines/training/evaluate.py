"""Score the test frame with a model and measure it: metrics with intervals, curves and slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.steps import RunName, StepModel

if TYPE_CHECKING:
    from pipelines.context import Context


class Inputs(StepModel):
    model_uri: str = Field(description="folder of the model")
    training_set_uri: str = Field(description="folder of the training set whose test frame is scored")
    run: RunName = Field(description="the caller's name for this training run, part of every path it writes")


class Outputs(StepModel):
    evaluation_uri: str
    family: str
    metrics: dict[str, float | None]
    cleaning: dict[str, dict[str, float]] = Field(description="by window, the rows and shares that cleaning changed")


def run(inputs: Inputs, context: Context) -> Outputs:
    import pyarrow as pa

    from pipelines.metrics.curves import calibration_curve, precision_recall_curve, roc_curve
    from pipelines.metrics.scores import Sample, intervals, jsonable
    from pipelines.metrics.slices import slice_metrics, worst_slice
    from pipelines.scorer import load_scorer
    from pipelines.training.cleaning import from_card, totals
    from pipelines.training.frames import model_inputs, numeric_inputs, read_frame, read_manifest
    from pipelines.training.plots import curves_png
    from pipelines.usecase import DAY, LABEL

    store, settings = context.data.store, context.params.evaluation
    manifest = read_manifest(store, inputs.training_set_uri)
    scorer = load_scorer(store, inputs.model_uri)
    family = str(scorer.model.card["family"])
    trained_on = scorer.model.card["training_set"]["sha256"]
    if trained_on != manifest["sha256"]:
        raise InvalidInput(
            f"{inputs.model_uri} was trained on another set than {inputs.training_set_uri}; give its own"
        )
    test = read_frame(store, inputs.training_set_uri, "test", manifest)
    scored = test.assign(score=scorer.score(test))
    fitted, counts = from_card(scorer.model.card)
    counts["test"] = fitted.count(numeric_inputs(test, model_inputs(manifest)))
    cleaned = {name: totals(counted) for name, counted in counts.items()}

    labels, scores = scored[LABEL], scored["score"]
    sample = Sample.of(labels, scores, scored[DAY].astype(str), settings.calibration_bins)
    metrics = jsonable(sample.measure())
    ranges = jsonable(intervals(sample.resample(settings.bootstrap, context.params.training.seed), sample.blocks))
    slices = slice_metrics(scored, context.usecase.slices, labels, scores, settings.min_slice)
    roc, precision_recall = roc_curve(labels, scores), precision_recall_curve(labels, scores)
    calibration = calibration_curve(labels, scores, settings.calibration_bins)

    uri = context.data.uri("evaluations", inputs.run, family)
    table = pa.Table.from_pandas(scored, preserve_index=False).replace_schema_metadata(None)
    written = store.write_table(f"{uri}/scored.parquet", table)
    for name, curve in (("roc", roc), ("precision_recall", precision_recall), ("calibration", calibration)):
        store.write_bytes(f"{uri}/{name}.csv", curve.to_csv(index=False, float_format="%.6g").encode())
    store.write_json(f"{uri}/cleaning.json", {"columns": fitted.facts(), "counts": counts})
    store.write_bytes(f"{uri}/curves.png", curves_png(family, roc, precision_recall, calibration))
    evaluation = {
        "family": family,
        "model_uri": scorer.model.uri,
        "model_sha256": scorer.model.sha256,
        "training_set_uri": inputs.training_set_uri,
        "window": manifest["windows"]["test"],
        "rows": len(scored),
        "days": sample.blocks,
        "metrics": metrics,
        "intervals": ranges,
        "slices": slices,
        "worst_slice": worst_slice(slices),
        "cleaning": cleaned,
        "sha256": {"scored.parquet": written},
    }
    store.write_json(f"{uri}/metrics.json", evaluation)
    return Outputs(evaluation_uri=uri, family=family, metrics=metrics, cleaning=cleaned)
