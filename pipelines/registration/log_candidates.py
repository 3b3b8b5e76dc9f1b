"""Log every candidate to MLflow: one run each, with its parameters, metrics, files and model."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from pipelines.registration import lineage
    from pipelines.registration.evaluation import FILES, read_evaluation

    store, code = context.data.store, lineage.code_tags()
    read = {uri: read_evaluation(store, uri) for uri in inputs.evaluation_uris}
    families = sorted(evaluation["family"] for evaluation, _ in read.values())
    if len(families) > len(set(families)):
        raise InvalidInput(f"the candidates' families are {', '.join(families)}; give one evaluation a family")

    runs = {
        str(evaluation["family"]): context.tracker.log_candidate(
            model,
            lineage.run_params(model.card),
            lineage.run_metrics(evaluation),
            {name: store.read_bytes(f"{uri.rstrip('/')}/{name}") for name in FILES},
            {**lineage.data_tags(uri, evaluation, model), **code},
        )
        for uri, (evaluation, model) in read.items()
    }
    return Outputs(runs=runs)
