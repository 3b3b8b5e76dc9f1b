"""Two registered versions side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.console import table
from pipelines.console.command import Answer
from pipelines.json_text import JsonObject

if TYPE_CHECKING:
    from pipelines.artifacts.card import ModelCard
    from pipelines.artifacts.evaluation import Evaluation
    from pipelines.context import Context
    from pipelines.tracking import ModelVersion

ORIGINS = ("family", "data_version", "feature_service", "registry_hash", "as_of", "git_commit", "params_hash",
           "environment_hash", "sha256")  # fmt: skip


def compare(one: ModelVersion, two: ModelVersion, context: Context) -> Answer:
    """Metrics of each version on its own window, and of both on the test rows of the newer, which neither has seen."""
    from pipelines.artifacts.evaluation import read_scored
    from pipelines.artifacts.model import ModelRef
    from pipelines.registration.champion import compare as on_the_same_rows
    from pipelines.registration.evaluation import read_evaluated_model
    from pipelines.tracking.integrity import require_intact

    store, settings = context.data.store, context.params.evaluation
    pair = {version.version: version for version in (one, two)}
    for version in pair.values():
        require_intact(store, context.tracker, version)
    evaluated = {number: read_evaluated_model(store, version.evaluation_uri) for number, version in pair.items()}
    evaluations = {number: one.evaluation for number, one in evaluated.items()}
    metrics = {number: dict(evaluation.metrics) for number, evaluation in evaluations.items()}
    newer, older = (two, one) if two.tags.get("as_of", "") >= one.tags.get("as_of", "") else (one, two)
    rows_scored = read_scored(store, newer.evaluation_uri, evaluations[newer.version])
    seed = context.params.training.seed
    champion = ModelRef(older.model_uri, older.sha256)
    comparison = on_the_same_rows(rows_scored, champion, store, settings, seed)
    origins = {name: [v.tags.get(name, "") for v in (one, two)] for name in ORIGINS}
    params = [_params(v, evaluated[v.version].model.card, context) for v in (one, two)]
    differing = {name: values for name, values in origins.items() if values[0] != values[1]}
    parameters = {
        key: [p.get(key) for p in params]
        for key in sorted({*params[0], *params[1]})
        if params[0].get(key) != params[1].get(key)
    }
    slices = _slices(evaluations[one.version], evaluations[two.version])
    report = {
        "versions": [one.version, two.version],
        "metrics": metrics,
        "paired": {
            "rows_of": newer.version,
            "window": evaluations[newer.version].as_json().get("window"),
            "rows": len(rows_scored),
            "minus": older.version,
            "differences": comparison.deltas,
            "problem": comparison.problem,
        },
        "differing": differing,
        "parameters": parameters,
        "slices": slices,
    }

    def show() -> None:
        names = [name for name in metrics[one.version] if name in metrics[two.version]]
        rows = [
            (name, *(_format(metrics[number].get(name)) for number in (one.version, two.version))) for name in names
        ]
        heads = ("metric", f"version {one.version}", f"version {two.version}")
        table.show(heads, rows, "each on its own test window")
        rows = [
            (name, *(_format(comparison.deltas.get(f"{name}_delta{end}")) for end in ("", "_low", "_high")))
            for name in names
            if f"{name}_delta" in comparison.deltas
        ]
        title = (
            f"version {newer.version} minus {older.version} on the {len(rows_scored)} rows of version {newer.version}"
        )
        table.show(("metric", "difference", "low", "high"), rows, comparison.problem or title)
        differences: dict[str, list[Any]] = {**differing, **parameters}
        table.show(
            ("what differs", *heads[1:]), [(k, *(_format(x) for x in v)) for k, v in differences.items()], "origins"
        )
        rows = [(f"{each['column']} {each['value']}", *(_format(x) for x in each["roc_auc"])) for each in slices]
        table.show(("slice", *heads[1:]), rows[:20], "ROC AUC of the slices that differ most, each on its own window")

    return report, show


def _params(version: ModelVersion, card: ModelCard, context: Context) -> JsonObject:
    """Everything that determined a version, flat: names such as `training.mlp.dropout` to values."""
    from pipelines.artifacts.provenance import Provenance
    from pipelines.registration import lineage

    provenance = Provenance.read(context.data.store, version.model_uri)
    return dict(_flat(lineage.science(provenance.params, card)))


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        return [(name, value)]
    return [pair for key, each in value.items() for pair in _flat(each, f"{name}.{key}" if name else str(key))]


def _slices(ours: Evaluation, theirs: Evaluation) -> list[JsonObject]:
    """Slices that are ranked in both evaluations, with the ROC AUC of each, the largest difference first."""
    first, second = _areas(ours), _areas(theirs)
    both = {key: (area, second[key]) for key, area in first.items() if key in second}
    by_difference = sorted(both.items(), key=lambda item: -abs(item[1][0] - item[1][1]))
    return [{"column": column, "value": value, "roc_auc": list(areas)} for (column, value), areas in by_difference]


def _areas(evaluation: Evaluation) -> dict[tuple[str, str], float]:
    """ROC AUC by column and value of each ranked slice that has one."""
    return {
        (column, entry.value): area
        for column, entries in evaluation.slices.items()
        for entry in entries or ()
        if entry.ranked and (area := entry.metric("roc_auc")) is not None
    }


def _format(value: Any) -> str:
    return "-" if value is None else f"{value:.5f}" if isinstance(value, float) else str(value)
