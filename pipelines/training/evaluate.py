"""Score the test frame with a model and measure it: metrics, costs, curves, slices, importance and behaviour."""

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
    behaviour: dict[str, str] = Field(description="by behavioural test: passed, failed or could_not_run")
    cleaning: dict[str, dict[str, float]] = Field(description="by window, the rows and shares that cleaning changed")


def run(inputs: Inputs, context: Context) -> Outputs:
    import pyarrow as pa

    from pipelines.manifest import read_manifest
    from pipelines.metrics.costs import measure_cost, thin_cost_curve
    from pipelines.metrics.curves import calibration_curve, precision_recall_curve, roc_curve
    from pipelines.metrics.scores import Sample, intervals, jsonable
    from pipelines.metrics.slices import slice_metrics, worst_slice
    from pipelines.scorer import load_scorer, model_arrays
    from pipelines.seal import write_sealed
    from pipelines.training.behaviour import check_behaviour, failures
    from pipelines.training.card import threshold_of
    from pipelines.training.cleaning import from_card, totals
    from pipelines.training.frames import model_inputs, numeric_inputs, read_frame
    from pipelines.training.importance import permutation_importance
    from pipelines.training.plots import pictures
    from pipelines.usecase import DAY, LABEL, MONTH, slices_of

    store, settings, costs = context.data.store, context.params.evaluation, context.params.costs
    seed = context.params.training.seed
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

    labels, scores, days = scored[LABEL], scored["score"], scored[DAY].astype(str)
    sample = Sample.of(labels, scores, days, settings.calibration_bins)
    threshold = threshold_of(scorer.model)
    cost, cost_range = measure_cost(labels, scores, days, threshold, costs, settings.bootstrap, seed)
    behaved = check_behaviour(context.params.behaviour, test, scorer.inputs, scorer.score, seed)
    metrics = jsonable({**sample.measure(), "cost": cost, "behaviour_failures": failures(behaved)})
    drawn = intervals(sample.resample(settings.bootstrap, seed), sample.blocks)
    ranges = jsonable({**drawn, "cost": cost_range})
    sliced = test.assign(**({} if MONTH in test else {MONTH: days.str[:7]}))
    slices = slice_metrics(sliced, slices_of(context.usecase), labels, scores, settings.min_slice)
    importance = permutation_importance(
        model_arrays(test, scorer.numeric, scorer.categorical),
        scorer.inputs.names,
        labels.to_numpy(),
        scorer.score_arrays,
        settings.importance,
        seed,
    )

    uri = context.data.uri("evaluations", inputs.run, family)
    table = pa.Table.from_pandas(scored, preserve_index=False).replace_schema_metadata(None)
    written = store.write_table(f"{uri}/scored.parquet", table)
    tables = {
        "roc": roc_curve(labels, scores),
        "precision_recall": precision_recall_curve(labels, scores),
        "calibration": calibration_curve(labels, scores, settings.calibration_bins),
        "cost": thin_cost_curve(labels, scores, costs),
        "importance": importance,
    }
    for name, rows in tables.items():
        store.write_bytes(f"{uri}/{name}.csv", rows.to_csv(index=False, float_format="%.6g").encode())
    store.write_json(f"{uri}/cleaning.json", {"columns": fitted.facts(), "counts": counts})
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
        "threshold": {"value": threshold, "costs": costs.model_dump(), "alarms": float((scores >= threshold).mean())},
        "behaviour": [result.model_dump() for result in behaved],
        "cleaning": cleaned,
        "sha256": {"scored.parquet": written},
    }
    for picture, content in pictures(evaluation, tables).items():
        store.write_bytes(f"{uri}/{picture}", content)
    write_sealed(store, f"{uri}/metrics.json", evaluation)
    statuses: dict[str, str] = {result.name: result.status for result in behaved}
    return Outputs(evaluation_uri=uri, family=family, metrics=metrics, behaviour=statuses, cleaning=cleaned)
