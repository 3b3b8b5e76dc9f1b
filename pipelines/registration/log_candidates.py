"""Log every candidate to MLflow: one run each, with its parameters, metrics, files and model, and its trials below."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context


class Inputs(StepModel):
    evaluation_uris: list[str] = Field(min_length=1, description="folders of the candidates' evaluations")


class Outputs(StepModel):
    runs: dict[str, str] = Field(description="MLflow run of each candidate, by family")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.manifest import read_manifest
    from pipelines.provenance import read_provenance
    from pipelines.registration import lineage
    from pipelines.registration.evaluation import FILES, read_evaluation, read_scored

    store = context.data.store
    read = {uri: read_evaluation(store, uri) for uri in inputs.evaluation_uris}
    families = sorted(evaluation["family"] for evaluation, _ in read.values())
    if len(families) > len(set(families)):
        raise InvalidInput(f"the candidates' families are {', '.join(families)}; give one evaluation a family")

    runs = {}
    for uri, (evaluation, model) in read.items():
        docs_uri, docs = data_docs(read_manifest(store, evaluation["training_set_uri"]), context)
        made = read_provenance(store, model.uri)
        tags = {
            **lineage.data_tags(uri, evaluation, model),
            **lineage.made_tags(made, model.card),
            **({"data_docs_uri": docs_uri} if docs_uri else {}),
        }
        attached = {
            **docs,
            lineage.PARAMS: (json.dumps(made["params"], indent=2, sort_keys=True) + "\n").encode(),
            lineage.ENVIRONMENT: "".join(f"{pin}\n" for pin in made["environment"]).encode(),
        }
        tuned = tried(model.uri, context)
        run_id = context.tracker.log_candidate(
            model,
            lineage.run_params(model.card),
            lineage.run_metrics(evaluation),
            {name: store.read_bytes(f"{uri.rstrip('/')}/{name}") for name in FILES},
            tags,
            read_scored(store, uri, evaluation).iloc[:1],
            [pin for pin in made["environment"] if pin.partition("==")[0] in lineage.NEEDED],
            attached,
        )
        for number, trial in enumerate(tuned):
            metrics = {name: trial[name] for name in ("validation_log_loss", "latency_ms")}
            context.tracker.log_trial(run_id, number, trial["params"], metrics, trial["state"])
        runs[str(evaluation["family"])] = run_id
    return Outputs(runs=runs)


def tried(model_uri: str, context: Context) -> list[dict[str, Any]]:
    """The trials of a model's tuning; none where only the declared settings were tried."""
    trials: list[dict[str, Any]] = context.data.store.read_json(f"{model_uri}/trials.json")["trials"]
    return trials if len(trials) > 1 else []


def data_docs(manifest: Mapping[str, Any], context: Context) -> tuple[str | None, dict[str, bytes]]:
    """How the data of a training set were validated: where the newest window's pages lie, and the files for its run."""
    windows: list[str] = manifest.get("validations", [])
    if not windows:
        return None, {}
    store, places = context.data.store, {name: context.data.uri("reports", "validation", name) for name in windows}
    newest = places[max(windows, key=lambda window: window.split("_")[::-1])]
    files = {f"data_docs/{name}": store.read_bytes(f"{newest}/{name}") for name in store.names(newest)}
    files["data_docs/windows.json"] = (json.dumps(places, indent=2) + "\n").encode()
    return f"{newest}/index.html", files
