"""Which data versions are needed, and by whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.artifacts.manifest import Manifest
from pipelines.errors import FlightdeckError
from pipelines.records import DecisionKind

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Snapshot
    from pipelines.tracking.version import ModelVersion


def registered_models(context: Context) -> list[ModelVersion]:
    """Every registered model version, oldest first.

    Raises:
        FlightdeckError: if the registry does not answer, or has none though the records know of one.
    """
    try:
        models = context.models.versions()
    except Exception as error:  # any error: without the registry's answer, every version may be needed
        raise FlightdeckError(
            f"the model registry does not answer ({error!r}); correct FLIGHTDECK_MLFLOW_URI, or try again"
        ) from error
    challenger = context.aliases.last("challenger")
    if challenger and not models:
        raise FlightdeckError(
            f"the model registry has no version of {context.usecase.name}, but version {challenger[1]} was registered; "
            "correct FLIGHTDECK_MLFLOW_URI"
        )
    return models


def training_sets(context: Context) -> dict[str, str]:
    """Run -> data version of every training set in the store.

    Raises:
        CorruptData: if a manifest is altered, or names no data version.
    """
    store, sets = context.data.store, {}
    for run in store.names(context.data.uri("training_sets")):
        folder = context.data.uri("training_sets", run)
        if not store.exists(Manifest.place(folder)):  # not finished, and made from one of the newest snapshots
            continue
        sets[run] = Manifest.read(store, folder).data_version
    return sets


def undecided_training_sets(
    sets: Mapping[str, str], gates: Iterable[Mapping[str, Any]], registered_by: Collection[str]
) -> dict[str, str]:
    """The training sets whose models may still be registered.

    No gate has decided on these, or they passed one and are not registered yet.

    Args:
        sets: run -> data version; the result likewise.
        gates: recorded decisions of the gate.
        registered_by: ids of the decisions by which models were registered.
    """
    decided = {
        (gate["evidence"]["subject"]["run"], version)
        for gate in gates
        if gate["verdict"] != "PASS" or gate["id"] in registered_by
        for version in gate["evidence"].get("data_versions", ())
    }
    return {run: version for run, version in sets.items() if (run, version) not in decided}


def needs_by_version(context: Context, snapshots: Sequence[Snapshot], keep: int) -> dict[str, list[str]]:
    """Version -> who needs it: registered models, the last `keep` snapshots, training sets, other use cases.

    Raises:
        FlightdeckError: if one of them cannot be asked.
    """
    models = registered_models(context)
    needs: defaultdict[str, list[str]] = defaultdict(list)
    for model in models:
        needs[model.tags.get("data_version", "")].append(f"model {model.version}")
    for version in dict.fromkeys(snapshot.version for snapshot in reversed(snapshots[-keep:])):
        needs[version].append("recent snapshot")
    gates = context.decisions.all(DecisionKind.GATE)
    registered_by = {model.tags.get("decision_id", "") for model in models}
    for run, version in undecided_training_sets(training_sets(context), gates, registered_by).items():
        needs[version].append(f"training set {run}")
    for version in context.snapshots.of_others():
        needs[version].append("another use case")
    return dict(needs)
