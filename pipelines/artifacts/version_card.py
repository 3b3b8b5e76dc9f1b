"""model_card.json of a registered version (Mitchell et al. 2019): what it is for, rests on, does well and badly."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from pydantic import Field

from pipelines.artifacts.card import CardInputs, CompressionFacts
from pipelines.artifacts.document import Digests, Frozen, Instant, Number
from pipelines.artifacts.evaluation import AlarmThreshold, BehaviourResult, Slice
from pipelines.artifacts.manifest import Windows
from pipelines.json_text import JsonObject
from pipelines.verdict import Verdict


class Declared(Frozen):
    """In a person's words."""

    purpose: str
    limits: str
    ethics: str
    owner: str


class CardData(Frozen):
    """The training set."""

    data_version: str
    feature_service: str
    registry_hash: str
    as_of: str
    rows: dict[str, int]
    windows: Windows


class CardCalibration(Frozen):
    """The method, what chose it, and the reliability curve: mean_score, observed_rate and rows of each bin."""

    asked: str
    method: str
    held_out_log_loss: dict[str, Number | None]
    reliability: tuple[dict[str, Number], ...]


class GateFacts(Frozen):
    """The recorded decision: metric, verdict and reason of each gate; differences to the champion; what was timed."""

    decision_id: str
    findings: tuple[tuple[str, str, str], ...]
    against: dict[str, Number | None]
    measured: dict[str, Number | None]


class Verification(Frozen):
    """What a rebuild of a version said.

    Attributes:
        verdict: PASS, REJECT, or HOLD where it could not be built again; `why` says more.
        commit, data_version: that it was built from; None in those of earlier code.
        max_difference: of a score; None where one is no number.
        device: where it is another one. libraries: those that decide the fit and have another version now.
        by, at: who asked for it, and when; None before it is kept.
    """

    verdict: Verdict
    why: str
    commit: str | None = None
    data_version: str | None = None
    max_difference: float | None = None
    rows: int | None = None
    identical_graph: bool | None = None
    identical_training_set: bool | None = None
    identical_environment: bool | None = None
    device: str | None = None
    libraries: dict[str, str] = Field(default_factory=dict)
    by: str | None = None
    at: Instant | None = None


class VersionCard(Frozen):
    """The facts of a card.

    Attributes:
        metrics: value, and both ends of its interval of 95 %.
        lineage: tags of the registered version.
        sha256: of the files that it rests on, by folder.
        verification: None before there was one.
        further: the labels whose probabilities, uncalibrated, come with the score.
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
    parameters: JsonObject
    refit: bool
    compression: CompressionFacts
    metrics: dict[str, tuple[Number | None, Number | None, Number | None]]
    rows: int | None
    days: int | None
    blocks: int | None = None
    window: tuple[date, date] | None
    slices: dict[str, tuple[Slice, ...]]
    calibration: CardCalibration
    threshold: AlarmThreshold | None
    behaviour: tuple[BehaviourResult, ...]
    gate: GateFacts
    lineage: dict[str, str]
    environment: dict[str, str]
    sha256: dict[str, Digests]
    verification: Verification | None = None
    further: tuple[str, ...] = ()
