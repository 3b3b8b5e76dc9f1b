"""Two registered versions side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


Numbers = Mapping[str, float | None]  # metrics, by name
Differing = dict[str, list[Any]]  # what is not the same: the value of each version, by name


@dataclass(frozen=True)
class Paired:
    """The newer version minus the older, on the test rows of the newer, which neither has seen.

    Attributes:
        window: of the rows.
        deltas: differences `METRIC_delta`, and the ends of their intervals.
        problem: why there are none.
    """

    newer: str
    older: str
    window: Any
    rows: int
    deltas: Numbers
    problem: str | None

    def as_json(self) -> JsonObject:
        return {
            "rows_of": self.newer,
            "window": self.window,
            "rows": self.rows,
            "minus": self.older,
            "differences": self.deltas,
            "problem": self.problem,
        }

    def show(self, metrics: Sequence[str]) -> None:
        rows = [
            (name, *(_format(self.deltas.get(f"{name}_delta{end}")) for end in ("", "_low", "_high")))
            for name in metrics
            if f"{name}_delta" in self.deltas
        ]
        title = f"version {self.newer} minus {self.older} on the {self.rows} rows of version {self.newer}"
        table.show(("metric", "difference", "low", "high"), rows, self.problem or title)


@dataclass(frozen=True)
class ComparisonReport:
    """What the comparison of two versions says.

    Attributes:
        versions: their numbers.
        metrics: of each version on its own test window.
        differing: origins.
        slices: those that are ranked in both evaluations, with the ROC AUC of each.
    """

    versions: tuple[str, str]
    metrics: Mapping[str, Numbers]
    paired: Paired
    differing: Differing
    parameters: Differing
    slices: Sequence[JsonObject]

    def as_json(self) -> JsonObject:
        return {
            "versions": list(self.versions),
            "metrics": self.metrics,
            "paired": self.paired.as_json(),
            "differing": self.differing,
            "parameters": self.parameters,
            "slices": self.slices,
        }

    def show(self) -> None:
        """Print a table each of metrics, of differences on the same rows, of origins and parameters, and of slices."""
        one, two = (self.metrics[number] for number in self.versions)
        heads = tuple(f"version {number}" for number in self.versions)
        names = [name for name in one if name in two]
        rows: list[tuple[str, ...]] = [(name, _format(one[name]), _format(two[name])) for name in names]
        table.show(("metric", *heads), rows, "each on its own test window")
        self.paired.show(names)
        rows = [(name, *map(_format, values)) for name, values in {**self.differing, **self.parameters}.items()]
        table.show(("what differs", *heads), rows, "origins")
        rows = [(f"{each['column']} {each['value']}", *map(_format, each["roc_auc"])) for each in self.slices]
        table.show(("slice", *heads), rows[:20], "ROC AUC of the slices that differ most, each on its own window")


def compare(one: ModelVersion, two: ModelVersion, context: Context) -> Answer:
    """Metrics of each version on its own window, and of both on the test rows of the newer, which neither has seen."""
    from pipelines.registration.evaluation import read_evaluated_model
    from pipelines.tracking.integrity import require_intact

    store = context.data.store
    pair = {version.version: version for version in (one, two)}
    for version in pair.values():
        require_intact(store, context.tracker, version)
    evaluated = {number: read_evaluated_model(store, version.evaluation_uri) for number, version in pair.items()}
    evaluations = {number: one.evaluation for number, one in evaluated.items()}
    newer, older = (two, one) if two.tags.get("as_of", "") >= one.tags.get("as_of", "") else (one, two)
    paired = _pair(newer, evaluations[newer.version], older, context)
    params = [_params(version, evaluated[version.version].model.card, context) for version in (one, two)]
    report = ComparisonReport(
        versions=(one.version, two.version),
        metrics={number: dict(evaluation.metrics) for number, evaluation in evaluations.items()},
        paired=paired,
        differing=_differing(ORIGINS, *({name: v.tags.get(name, "") for name in ORIGINS} for v in (one, two))),
        parameters=_differing(sorted({*params[0], *params[1]}), *params),
        slices=_slices(evaluations[one.version], evaluations[two.version]),
    )
    return report.as_json(), report.show


def _pair(newer: ModelVersion, evaluation: Evaluation, older: ModelVersion, context: Context) -> Paired:
    """Score the older version on the rows that the evaluation of the newer scored."""
    from pipelines.artifacts.evaluation import read_scored
    from pipelines.registration.champion import compare as on_the_same_rows

    store, seed = context.data.store, context.params.training.seed
    scored = read_scored(store, newer.evaluation_uri, evaluation)
    comparison = on_the_same_rows(scored, older.model, store, context.params.evaluation, seed)
    window = evaluation.as_json().get("window")
    return Paired(newer.version, older.version, window, len(scored), comparison.deltas, comparison.problem)


def _differing(names: Iterable[str], one: JsonObject, two: JsonObject) -> Differing:
    return {name: [one.get(name), two.get(name)] for name in names if one.get(name) != two.get(name)}


def _params(version: ModelVersion, card: ModelCard, context: Context) -> JsonObject:
    """Everything that determined a version, flat: names such as `training.mlp.dropout` to values."""
    from pipelines.artifacts.provenance import Provenance
    from pipelines.registration import lineage

    provenance = Provenance.read(context.data.store, version.model_uri)
    return dict(_flat(lineage.science(provenance.params, card)))


def _flat(value: object, name: str = "") -> list[tuple[str, object]]:
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
