"""The model card kept with a version: three files in a folder of its run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.manifest import read_manifest
from pipelines.registration.model_card import build
from pipelines.registration.rendering import markdown, page
from pipelines.tracking.artifacts import registered

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.scorer import Model
    from pipelines.tracking import ModelVersion

FOLDER, FACTS = "model_card", "model_card.json"


def keep_card(
    version: ModelVersion,
    decision: Mapping[str, Any] | None,
    evaluation: Mapping[str, Any],
    model: Model,
    context: Context,
) -> None:
    """Write the card of a version that has none; its facts last, so that a killed call is made good by the next."""
    if decision is None or context.tracker.attached(version.run_id, FOLDER, FACTS) is not None:
        return
    store = context.data.store
    curve = store.read_bytes(f"{version.evaluation_uri.rstrip('/')}/calibration.csv").decode()
    write_card(
        version,
        build(
            context.usecase.name,
            version.version,
            version.tags,
            registered(version, context.tracker),
            context.params.model_card.model_dump(),
            model.card,
            evaluation,
            read_manifest(store, version.training_set_uri),
            [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(io.StringIO(curve))],
            decision,
        ),
        context,
    )


def write_card(version: ModelVersion, card: Mapping[str, Any], context: Context) -> None:
    tracker, facts = context.tracker, json.dumps(card, indent=2, sort_keys=True, default=str) + "\n"
    readable = {"model_card.md": markdown(card).encode(), "model_card.html": page(card).encode()}
    tracker.attach(version.run_id, FOLDER, readable)
    tracker.attach(version.run_id, FOLDER, {FACTS: facts.encode()})


def read_card(version: ModelVersion, context: Context) -> dict[str, Any] | None:
    """The facts of a version's card; None where it has none."""
    content = context.tracker.attached(version.run_id, FOLDER, FACTS)
    return None if content is None else dict(json.loads(content))
