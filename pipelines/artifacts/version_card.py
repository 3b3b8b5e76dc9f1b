"""model_card.json of a registered version (Mitchell et al. 2019): what it is for, rests on, does well and badly."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar

from pipelines.artifacts.card import CardInputs
from pipelines.artifacts.document import Digests, Number, Part
from pipelines.artifacts.evaluation import AlarmThreshold, BehaviourResult, Slice
from pipelines.artifacts.manifest import Windows


class Declared(Part):
    """In a person's words."""

    purpose: str
    limits: str
    ethics: str
    owner: str


class CardData(Part):
    """The training set."""

    data_version: str
    feature_service: str
    registry_hash: str
    as_of: str
    rows: dict[str, int]
    windows: Windows


class CardCalibration(Part):
    """The method, what chose it, and the reliability curve: mean_score, observed_rate and rows of each bin."""

    asked: str
    method: str
    held_out_log_loss: dict[str, Number | None]
    reliability: tuple[dict[str, Number], ...]


class GateFacts(Part):
    """The recorded decision: metric, verdict and reason of each gate; differences to the champion; what was timed."""

    decision_id: str
    findings: tuple[tuple[str, str, str], ...]
    against: dict[str, Number | None]
    measured: dict[str, Number | None]


class VersionCard(Part):
    """The facts of a card.

    Attributes:
        metrics: value, and both ends of its interval of 95 %.
        lineage: tags of the registered version.
        sha256: of the files that it rests on, by folder.
        verification: what a rebuild of the version said; None before there was one.
    """

    FOLDER: ClassVar[str] = "model_card"  # of the version's MLflow run
    FILE: ClassVar[str] = "model_card.json"
    READABLE: ClassVar[tuple[str, str]] = ("model_card.md", "model_card.html")

    name: str
    version: str
    family: str
    declared: Declared
    data: CardData
    inputs: CardInputs
    parameters: dict[str, Any]
    refit: bool
    compression: dict[str, dict[str, Any]]
    metrics: dict[str, tuple[Number | None, Number | None, Number | None]]
    rows: int | None
    days: int | None
    window: tuple[date, date] | None
    slices: dict[str, tuple[Slice, ...]]
    calibration: CardCalibration
    threshold: AlarmThreshold | None
    behaviour: tuple[BehaviourResult, ...]
    gate: GateFacts
    lineage: dict[str, str]
    environment: dict[str, str]
    sha256: dict[str, Digests]
    verification: dict[str, Any] | None = None
