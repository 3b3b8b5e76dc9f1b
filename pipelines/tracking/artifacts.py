"""The files that a registered version rests on, and whether they are still what they were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.errors import CorruptData, MissingData

if TYPE_CHECKING:
    from pipelines.store import Store
    from pipelines.tracking.registry import ModelVersion

ARTIFACTS = "artifacts"  # the tag: {FOLDER: {FILE: sha256}} as JSON
SERVED = ("model", "evaluation")  # the folders that are read after registration; the training set is for rebuilding


def digests(store: Store, folders: dict[str, str]) -> dict[str, dict[str, str]]:
    """sha256 of every file in folders, given and told by name: model, evaluation, training_set."""
    return {
        name: {file: store.sha256(store.read_bytes(f"{uri.rstrip('/')}/{file}")) for file in store.names(uri)}
        for name, uri in folders.items()
    }


def folders_of(version: ModelVersion) -> dict[str, str]:
    return {
        "model": version.model_uri,
        "evaluation": version.evaluation_uri,
        "training_set": version.training_set_uri,
    }


def require_intact(store: Store, version: ModelVersion, folders: Sequence[str] = SERVED) -> None:
    """Check files against the digests that were registered; those that came later do not count.

    Raises:
        CorruptData: naming the first file that is gone or altered. A version that was registered without digests is
            held against the sha256 of its graph alone, when that is read.
    """
    registered = json.loads(version.tags.get(ARTIFACTS, "{}"))
    places = folders_of(version)
    for folder in folders:
        for file, wanted in sorted(registered.get(folder, {}).items()):
            uri = f"{places[folder].rstrip('/')}/{file}"
            try:
                found = store.sha256(store.read_bytes(uri))
            except MissingData:
                raise CorruptData(f"version {version.version}: {uri} is gone; restore it") from None
            if found != wanted:
                raise CorruptData(
                    f"version {version.version}: {uri} has sha256 {found[:12]}, registered is {wanted[:12]}; "
                    "restore it, or set the alias to another version"
                )
