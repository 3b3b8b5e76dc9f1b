"""Which versions are needed, and by whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.errors import CorruptData, FlightdeckError

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Snapshot
    from pipelines.tracking.version import ModelVersion


def registered(context: Context) -> list[ModelVersion]:
    """Every registered model version, oldest first.

    Raises:
        FlightdeckError: if the registry does not answer, or has none though the records know of one.
    """
    try:
        found = context.models.versions()
    except Exception as error:  # of whatever kind: a registry that says nothing has not said that nothing is needed
        raise FlightdeckError(
            f"the model registry does not answer ({error!r}); correct FLIGHTDECK_MLFLOW_URI, or try again"
        ) from error
    noted = context.records.rollouts(context.usecase.name).alias("challenger")
    if noted and not found:
        raise FlightdeckError(
            f"the model registry has no version of {context.usecase.name}, but version {noted[1]} was registered; "
            "correct FLIGHTDECK_MLFLOW_URI"
        )
    return found


def training_sets(context: Context) -> dict[str, str]:
    """Run -> data version of every training set in the store.

    Raises:
        CorruptData: if one does not say which.
    """
    store, sets = context.data.store, {}
    for run in store.names(context.data.uri("training_sets")):
        uri = context.data.uri("training_sets", run, "manifest.json")
        if not store.exists(uri):  # not finished, and made from one of the newest snapshots
            continue
        manifest = store.read_json(uri)
        if not isinstance(manifest, dict) or "data_version" not in manifest:
            raise CorruptData(f"{uri} names no data_version; build the training set again, or delete its folder")
        sets[run] = str(manifest["data_version"])
    return sets


def undecided(
    sets: Mapping[str, str], gates: Iterable[Mapping[str, Any]], registered_by: Collection[str]
) -> dict[str, str]:
    """The training sets whose models may still be registered.

    Those are the ones that no gate has decided on, and those that passed one and are not registered yet.

    Args:
        sets: run -> data version; the result likewise.
        gates: recorded decisions of the gate.
        registered_by: ids of the decisions by which models were registered.
    """
    done = {
        (gate["evidence"]["subject"]["run"], version)
        for gate in gates
        if gate["verdict"] != "PASS" or gate["id"] in registered_by
        for version in gate["evidence"].get("data_versions", ())
    }
    return {run: version for run, version in sets.items() if (run, version) not in done}


def needed(context: Context, taken: Sequence[Snapshot], keep: int) -> dict[str, list[str]]:
    """Version -> who needs it: registered models, the last `keep` snapshots, training sets, other use cases.

    Raises:
        FlightdeckError: if one of them cannot be asked.
    """
    usecase, models = context.usecase.name, registered(context)
    needs: defaultdict[str, list[str]] = defaultdict(list)
    for model in models:
        needs[model.tags.get("data_version", "")].append(f"model {model.version}")
    for version in dict.fromkeys(snapshot.version for snapshot in reversed(taken[-keep:])):
        needs[version].append("recent snapshot")
    gates = context.records.decisions(usecase, "gate")
    registered_by = {model.tags.get("decision_id", "") for model in models}
    for run, version in undecided(training_sets(context), gates, registered_by).items():
        needs[version].append(f"training set {run}")
    for version in context.records.snapshots(usecase).of_others():
        needs[version].append("another use case")
    return dict(needs)
