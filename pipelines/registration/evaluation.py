"""An evaluation and its model, read together and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipelines.artifacts.evaluation import Evaluation
from pipelines.artifacts.model import Model, ModelRef, read_model
from pipelines.errors import CorruptData, InvalidInput
from pipelines.registration.candidates import Candidate
from pipelines.store import Store


@dataclass(frozen=True)
class EvaluatedModel:
    """An evaluation and the model that it evaluates."""

    uri: str
    evaluation: Evaluation
    model: Model

    def candidate(self, problem: str | None) -> Candidate:
        return Candidate(
            family=self.evaluation.family,
            model_uri=self.model.uri,
            sha256=self.model.sha256,
            evaluation_uri=self.uri,
            training_set_uri=self.evaluation.training_set_uri,
            metrics=self.evaluation.metrics,
            problems=(problem,) if problem else (),
        )


def read_evaluated_model(store: Store, evaluation_uri: str) -> EvaluatedModel:
    """Read an evaluation and the model that it evaluates.

    Raises:
        MissingData, CorruptData: if a file is absent or altered, or the model is no longer the one that was evaluated.
    """
    evaluation = Evaluation.read(store, evaluation_uri)
    model = read_model(store, ModelRef(evaluation.model_uri))
    if model.sha256 != evaluation.model_sha256:
        place = evaluation.place(evaluation_uri)
        raise CorruptData(f"{place} is of another model than the one now in {model.uri}; {evaluation.REMEDY}")
    return EvaluatedModel(evaluation_uri, evaluation, model)


def require_current(model: Model, as_of: datetime) -> None:
    """Refuse a model that was trained as of another instant.

    Raises:
        InvalidInput: naming both instants.
    """
    trained_as_of = model.card.training_set.as_of
    if trained_as_of != as_of:
        raise InvalidInput(
            f"{model.uri} was trained as of {trained_as_of.isoformat()}, but as_of is {as_of.isoformat()}; give that"
        )
