"""An evaluation and its model, read back and held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipelines.artifacts.evaluation import Evaluation
from pipelines.artifacts.model import Model, ModelRef, read_model
from pipelines.errors import CorruptData, InvalidInput
from pipelines.registration.candidates import Candidate
from pipelines.store import Store


@dataclass(frozen=True)
class Evaluated:
    """An evaluation and the model that it is about."""

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


def read_evaluated(store: Store, evaluation_uri: str) -> Evaluated:
    """An evaluation, and the model it is about.

    Raises:
        MissingData, CorruptData: if a file is absent or altered, or the model is no longer the one that was evaluated.
    """
    evaluation = Evaluation.read(store, evaluation_uri)
    model = read_model(store, ModelRef(evaluation.model_uri))
    if model.sha256 != evaluation.model_sha256:
        place = evaluation.place(evaluation_uri)
        raise CorruptData(f"{place} is not about the model now in {model.uri}; {evaluation.REMEDY}")
    return Evaluated(evaluation_uri, evaluation, model)


def require_current(model: Model, as_of: datetime) -> None:
    """Refuse a model that was trained as of another instant.

    Raises:
        InvalidInput: naming both instants.
    """
    trained = model.card.training_set.as_of
    if trained != as_of:
        raise InvalidInput(
            f"{model.uri} was trained as of {trained.isoformat()}, but as_of is {as_of.isoformat()}; give its own"
        )
