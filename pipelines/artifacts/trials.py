"""trials.json of a model folder: the settings that were tried, and what each lost on validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ValidationError

from pipelines.artifacts.document import Frozen
from pipelines.errors import CorruptData
from pipelines.json_text import JsonObject

if TYPE_CHECKING:
    from pipelines.store import Store


class Trial(Frozen):
    """One setting that was tried.

    Attributes:
        validation_log_loss: of a pruned trial the last one; None where it is not finite.
        latency_ms: p95 of one row, where training.tuning.latency asks for it.
    """

    params: JsonObject
    validation_log_loss: float | None
    state: Literal["complete", "pruned", "failed"]
    latency_ms: float | None = None


class Trials(Frozen):
    """All of a search, in order.

    Attributes:
        pareto_front: positions of the trials that no other beats in both loss and latency; absent without latencies.
    """

    FILE: ClassVar[str] = "trials.json"

    trials: tuple[Trial, ...]
    best_trial: int
    pareto_front: tuple[int, ...] = ()

    @property
    def tried(self) -> tuple[Trial, ...]:
        """The trials of a search; none where only the declared settings were tried."""
        return self.trials if len(self.trials) > 1 else ()

    @classmethod
    def read(cls, store: Store, model_uri: str) -> Trials:
        """The trials of a model.

        Raises:
            MissingData, CorruptData: if they are not there, or no trials.
        """
        uri = f"{model_uri.rstrip('/')}/{cls.FILE}"
        try:
            return cls.model_validate(store.read_json(uri))
        except ValidationError as error:
            raise CorruptData(f"{uri} holds no trials ({error.errors()[0]['msg']}); train the model again") from None

    def write(self, store: Store, model_uri: str) -> None:
        store.write_json(f"{model_uri.rstrip('/')}/{self.FILE}", self.as_json())
