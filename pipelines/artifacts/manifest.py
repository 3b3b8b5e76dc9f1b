"""manifest.json of a training set: what it was made from, its windows, and the sha256 of its frames."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from pydantic import Field

from pipelines.artifacts.document import Digests, Document, Frozen, Instant
from pipelines.usecase import ModelInputs

Windows = dict[str, tuple[date, date]]  # train, validation, test: first day, and the day after the last


class InputColumns(Frozen):
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]

    @property
    def inputs(self) -> ModelInputs:
        return ModelInputs(self.numeric, self.categorical)


class Origin(Frozen):
    """What a training set was made from and holds; model.json says the same of the one that its model was trained on.

    Attributes:
        sha256: of the frames, by their names.
    """

    data_version: str
    feature_service: str
    registry_hash: str
    as_of: Instant
    windows: Windows
    sha256: Digests


class Manifest(Document):
    """What a training set was made from.

    Attributes:
        rows: of each frame.
        releases: fingerprint of the rows that people had let through quarantine; None where there were none.
        validations: windows, as START_END, whose validation let in rows of its days.
        auxiliary: columns with further labels.
        model_inputs: what models may read.
    """

    FILE: ClassVar[str] = "manifest.json"
    REMEDY: ClassVar[str] = "build the training set again"
    UNSEALED: ClassVar[bool] = True

    data_version: str
    feature_service: str
    registry_hash: str
    as_of: Instant
    windows: Windows
    model_inputs: InputColumns
    rows: dict[str, int] = Field(default_factory=dict)
    releases: str | None = None
    validations: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()

    @property
    def origin(self) -> Origin:
        """What it says of the training set, without its own digest."""
        return Origin(**{**{name: getattr(self, name) for name in Origin.model_fields}, "sha256": self.files})

    @property
    def span(self) -> tuple[date, date]:
        """First day of its windows, and the day after the last."""
        return min(start for start, _ in self.windows.values()), max(end for _, end in self.windows.values())
