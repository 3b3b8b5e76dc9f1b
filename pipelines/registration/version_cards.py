"""The model card of a registered version: three files in a folder of its MLflow run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.version_card import Declared, VersionCard
from pipelines.registration.model_card import Sources, build
from pipelines.registration.rendering import markdown, page
from pipelines.tracking.integrity import registered_digests

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.registration.evaluation import EvaluatedModel
    from pipelines.tracking import ModelVersion

FOLDER, CARD = VersionCard.FOLDER, VersionCard.FILE


def add_card(
    version: ModelVersion, decision: Mapping[str, Any] | None, evaluated: EvaluatedModel, context: Context
) -> None:
    """Write the card of a version that has none; its JSON comes last, so that a call after a kill completes it."""
    if decision is None or context.tracker.read_attachment(version.run_id, FOLDER, CARD) is not None:
        return
    store = context.data.store
    curve = store.read_bytes(f"{version.evaluation_uri.rstrip('/')}/calibration.csv").decode()
    reliability = [
        {key: float(value) for key, value in row.items() if value} for row in csv.DictReader(io.StringIO(curve))
    ]
    manifest = Manifest.read(store, version.training_set_uri)
    sources = Sources(evaluated.model.card, evaluated.evaluation, manifest, reliability, decision)
    statements = Declared(**context.params.model_card.model_dump())
    files = registered_digests(version, context.tracker)
    write_card(version, build(context.usecase.name, version.version, version.tags, files, statements, sources), context)


def write_card(version: ModelVersion, card: VersionCard, context: Context) -> None:
    tracker, content = context.tracker, json.dumps(card.as_json(), indent=2, sort_keys=True, default=str) + "\n"
    tracker.attach(
        version.run_id,
        FOLDER,
        dict(zip(card.READABLE, (markdown(card).encode(), page(card).encode()), strict=True)),
    )
    tracker.attach(version.run_id, FOLDER, {CARD: content.encode()})


def read_card(version: ModelVersion, context: Context) -> VersionCard | None:
    """A version's card; None where it has none."""
    content = context.tracker.read_attachment(version.run_id, FOLDER, CARD)
    return None if content is None else VersionCard.model_validate_json(content)
