"""manifest.json of a training set: what it was made from, its windows, and the sha256 of its frames. A leaf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.errors import CorruptData
from pipelines.store import Store

MANIFEST = "manifest.json"
CARRIED = ("data_version", "feature_service", "registry_hash", "as_of", "windows", "sha256")  # by model.json
WANTED = {*CARRIED, "model_inputs"}


def read_manifest(store: Store, training_set_uri: str) -> Mapping[str, Any]:
    """manifest.json of a training set.

    Raises:
        MissingData, CorruptData: if it is not there or lacks a key.
    """
    uri = f"{training_set_uri.rstrip('/')}/{MANIFEST}"
    manifest = store.read_json(uri)
    lacking = WANTED - set(manifest) if isinstance(manifest, dict) else WANTED
    if lacking:
        raise CorruptData(f"{uri} lacks {', '.join(sorted(lacking))}; build the training set again")
    return dict(manifest)
