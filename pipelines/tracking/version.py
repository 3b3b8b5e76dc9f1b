"""A registered version of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.artifacts.model import ModelRef


@dataclass(frozen=True)
class ModelVersion:
    """A registered version. Its tags name the data, code and decision behind it."""

    version: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def model_uri(self) -> str:
        return self.tags["model_uri"]

    @property
    def model(self) -> ModelRef:
        """The folder of the model, with the sha256 of the registered graph."""
        return ModelRef(self.model_uri, self.sha256)

    @property
    def evaluation_uri(self) -> str:
        return self.tags["evaluation_uri"]

    @property
    def training_set_uri(self) -> str:
        return self.tags["training_set_uri"]

    @property
    def sha256(self) -> str:
        return self.tags["sha256"]
