"""The model card of a version, built from its artifacts and the gate's decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.evaluation import Evaluation
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.version_card import CardCalibration, CardData, Declared, GateFacts, VersionCard
from pipelines.tracking.integrity import OLD, Digests


@dataclass(frozen=True)
class Sources:
    """The sources of a card.

    Attributes:
        reliability: points of the reliability curve, with mean_score, observed_rate and rows.
        decision: the gate's, as recorded.
    """

    card: ModelCard
    evaluation: Evaluation
    manifest: Manifest
    reliability: Sequence[Mapping[str, float]]
    decision: Mapping[str, Any]


def build(
    name: str,
    version: str,
    tags: Mapping[str, str],
    files: Digests,
    statements: Declared,
    sources: Sources,
) -> VersionCard:
    """Build a card.

    Args:
        tags: of the registered version.
        files: digests of the version's files.
        declared: the statements about the model in params.yaml.
    """
    card, evaluation = sources.card, sources.evaluation
    version_card = VersionCard(
        name=name,
        version=version,
        family=card.family,
        declared=statements,
        data=_data(sources.manifest),
        inputs=card.inputs,
        parameters={**card.params, "seed": card.seed},
        refit=card.refit,
        compression=card.compression,
        metrics={
            metric: (value, *(evaluation.intervals.get(metric) or (None, None)))
            for metric, value in sorted(evaluation.metrics.items())
        },
        rows=evaluation.rows,
        days=evaluation.days,
        window=evaluation.window,
        slices={column: entries or () for column, entries in evaluation.slices.items()},
        calibration=_calibration(card, sources.reliability),
        threshold=evaluation.threshold,
        behaviour=evaluation.behaviour,
        gate=_gate(sources.decision, card.family),
        lineage={key: value for key, value in sorted(tags.items()) if "." not in key and key != OLD},
        environment=card.environment,
        sha256={folder: dict(digests) for folder, digests in files.items()},
        verification=None,
        **({"further": card.further} if card.further else {}),
    )
    return version_card if evaluation.blocks is None else version_card.model_copy(update={"blocks": evaluation.blocks})


def _data(manifest: Manifest) -> CardData:
    return CardData(
        data_version=manifest.data_version,
        feature_service=manifest.feature_service,
        registry_hash=manifest.registry_hash,
        as_of=manifest.as_of.isoformat(),
        rows=manifest.rows,
        windows=manifest.windows,
    )


def _calibration(card: ModelCard, reliability: Sequence[Mapping[str, float]]) -> CardCalibration:
    return CardCalibration(
        asked=card.calibration.asked,
        method=card.calibration.method,
        held_out_log_loss=card.calibration.held_out_log_loss,
        reliability=tuple(dict(point) for point in reliability),
    )


def _gate(decision: Mapping[str, Any], family: str) -> GateFacts:
    choice, champion, measurements = (decision["evidence"].get(key) or {} for key in ("chosen", "champion", "measured"))
    return GateFacts(
        decision_id=decision["id"],
        findings=tuple((f["gate"]["metric"], f["verdict"], f["reason"]) for f in choice.get("findings", [])),
        against=champion.get("deltas") or {},
        measured=measurements.get(family) or {},
    )
