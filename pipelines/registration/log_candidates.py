"""Log every candidate to MLflow: one run each, with its parameters, metrics, files and model, and its trials below."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import InvalidInput
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.artifacts.manifest import Manifest
    from pipelines.context import Context


class Inputs(StepModel):
    evaluation_uris: list[str] = Field(min_length=1, description="folders of the candidates' evaluations")


class Outputs(StepModel):
    runs: dict[str, str] = Field(description="MLflow run of each candidate, by family")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.artifacts.evaluation import FILES, read_scored
    from pipelines.artifacts.manifest import Manifest
    from pipelines.artifacts.provenance import Provenance
    from pipelines.artifacts.run_files import ENVIRONMENT, PARAMS
    from pipelines.artifacts.trials import Trials
    from pipelines.registration import lineage
    from pipelines.registration.evaluation import read_evaluated_model
    from pipelines.tracking.runs import CandidateRun

    store = context.data.store
    candidates = [read_evaluated_model(store, uri) for uri in inputs.evaluation_uris]
    families = sorted(one.evaluation.family for one in candidates)
    if len(families) > len(set(families)):
        raise InvalidInput(f"the candidates' families are {', '.join(families)}; give one evaluation for each family")

    runs = {}
    for one in candidates:
        evaluation, model = one.evaluation, one.model
        docs_uri, docs = data_docs(Manifest.read(store, evaluation.training_set_uri), context)
        provenance, trials = Provenance.read(store, model.uri), Trials.read(store, model.uri)
        tags = {
            **lineage.data_tags(one.uri, evaluation, model),
            **lineage.origin_tags(provenance, model.card),
            **({"data_docs_uri": docs_uri} if docs_uri else {}),
        }
        attachments = {
            **docs,
            PARAMS: (json.dumps(provenance.params, indent=2, sort_keys=True) + "\n").encode(),
            ENVIRONMENT: "".join(f"{pin}\n" for pin in provenance.environment).encode(),
        }
        candidate_run = CandidateRun(
            params=lineage.run_params(model.card),
            metrics=lineage.run_metrics(evaluation),
            tags=tags,
            files={name: store.read_bytes(f"{one.uri.rstrip('/')}/{name}") for name in FILES},
            attachments=attachments,
            row=read_scored(store, one.uri, evaluation).iloc[:1],
            requirements=[pin for pin in provenance.environment if pin.partition("==")[0] in lineage.NEEDED],
        )
        run_id = context.tracker.log_candidate(model, candidate_run)
        for number, trial in enumerate(trials.tried):
            metrics = {"validation_log_loss": trial.validation_log_loss, "latency_ms": trial.latency_ms}
            context.tracker.log_trial(run_id, number, trial.params, metrics, trial.state)
        runs[evaluation.family] = run_id
    return Outputs(runs=runs)


def data_docs(manifest: Manifest, context: Context) -> tuple[str | None, dict[str, bytes]]:
    """The URI of the data docs of a training set's newest validated window, and the files to log; None without any."""
    from pipelines.artifacts.run_files import DATA_DOCS, WINDOWS

    windows = manifest.validations
    if not windows:
        return None, {}
    store, places = context.data.store, {name: context.data.uri("reports", "validation", name) for name in windows}
    newest = places[max(windows, key=lambda window: window.split("_")[::-1])]
    files = {f"{DATA_DOCS}/{name}": store.read_bytes(f"{newest}/{name}") for name in store.names(newest)}
    files[WINDOWS] = (json.dumps(places, indent=2) + "\n").encode()
    return f"{newest}/index.html", files
