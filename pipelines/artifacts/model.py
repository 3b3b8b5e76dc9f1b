"""A model as data: one ONNX graph and its model.json, known to belong together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.artifacts.card import GRAPH, ModelCard
from pipelines.errors import CorruptData

if TYPE_CHECKING:
    from pipelines.store import Store


@dataclass(frozen=True)
class ModelRef:
    """Where a model lies, and which it is.

    Attributes:
        uri: its folder.
        sha256: of the graph as it was registered; None where whatever the folder holds is meant.
    """

    uri: str
    sha256: str | None = None


@dataclass(frozen=True)
class Model:
    """The files of a model folder.

    Attributes:
        graph: the bytes of model.onnx.
    """

    uri: str
    card: ModelCard
    graph: bytes

    @property
    def sha256(self) -> str:
        return self.card.sha256[GRAPH]


def read_model(store: Store, ref: ModelRef) -> Model:
    """Read a model folder, and check the card against its own digest and the graph against the card.

    A folder that was trained into again is whole, and another model than the one that `ref` names by its sha256.

    Raises:
        MissingData: if a file is not there.
        CorruptData: if the card was altered, or the graph is not the one that the card names, or not the one wanted.
    """
    location = ref.uri.rstrip("/")
    card = ModelCard.read(store, location)
    graph = store.read_bytes(f"{location}/{GRAPH}")
    actual, promised = hashlib.sha256(graph).hexdigest(), card.sha256.get(GRAPH, "no digest")
    if actual != promised:
        raise CorruptData(
            f"{location}/{GRAPH} has sha256 {actual[:12]}, but {card.FILE} names {promised[:12]}; restore it or train "
            "the model again"
        )
    if ref.sha256 is not None and actual != ref.sha256:
        raise CorruptData(
            f"{location} holds another model than the registered one: {GRAPH} has sha256 {actual[:12]}, registered is "
            f"{ref.sha256[:12]}; restore the folder, or take another version"
        )
    return Model(location, card, graph)
