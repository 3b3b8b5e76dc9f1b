"""The digests of a registered version's files, and the check that the files have not changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.artifacts.run_files import DIGESTS, REGISTRATION
from pipelines.errors import CorruptData, MissingData

if TYPE_CHECKING:
    from pipelines.store import Store
    from pipelines.tracking.runs import Tracker
    from pipelines.tracking.version import ModelVersion

Digests = Mapping[str, Mapping[str, str]]  # {folder: {file: sha256}}
SEAL = "artifacts_sha256"  # the version's tag: sha256 of DIGESTS
OLD = "artifacts"  # the tag that held the digests themselves before DIGESTS did
SERVED = ("model", "evaluation")  # the folders that are read after registration; the training set is for rebuilding


def digests(store: Store, folders: dict[str, str]) -> dict[str, dict[str, str]]:
    """sha256 of every file in folders, by the names of the folders: model, evaluation, training_set."""
    return {
        name: {file: store.sha256(store.read_bytes(f"{uri.rstrip('/')}/{file}")) for file in store.names(uri)}
        for name, uri in folders.items()
    }


def seal_digests(files: Digests) -> tuple[bytes, str]:
    """The content of the file DIGESTS, and of the tag SEAL."""
    content = (json.dumps(files, indent=2, sort_keys=True) + "\n").encode()
    return content, hashlib.sha256(content).hexdigest()


def registered_digests(version: ModelVersion, tracker: Tracker) -> Digests:
    """The digests that a version was registered with; none if it was registered before digests were recorded.

    Raises:
        CorruptData: if they are missing or altered.
    """
    if OLD in version.tags and SEAL not in version.tags:
        try:
            return dict(json.loads(version.tags[OLD]))
        except (ValueError, TypeError):
            raise CorruptData(f"version {version.version}: its tag {OLD} was altered; restore it") from None
    place = f"version {version.version}: {REGISTRATION}/{DIGESTS} of its MLflow run {version.run_id}"
    try:
        tracker.run_tags(version.run_id)  # distinguishes a missing run from a registry that is down
        content = tracker.read_attachment(version.run_id, REGISTRATION, DIGESTS)
    except MissingData:
        content = None
    if SEAL not in version.tags:
        if content is not None:
            raise CorruptData(f"{place} is there, but the version has no tag {SEAL}; restore the tag")
        return {}
    if content is None:
        raise CorruptData(f"{place} is gone; restore it, or set the alias to another version")
    seal = hashlib.sha256(content).hexdigest()
    if seal != version.tags[SEAL]:
        raise CorruptData(
            f"{place} has sha256 {seal[:12]}, tag {SEAL} is {version.tags[SEAL][:12]}; "
            "restore it, or set the alias to another version"
        )
    return dict(json.loads(content))


def folders_of(version: ModelVersion) -> dict[str, str]:
    return {
        "model": version.model_uri,
        "evaluation": version.evaluation_uri,
        "training_set": version.training_set_uri,
    }


def require_intact(store: Store, tracker: Tracker, version: ModelVersion, folders: Sequence[str] = SERVED) -> None:
    """Check files against the registered digests; files that were added later are ignored.

    Raises:
        CorruptData: naming the first file that is missing or altered. For a version registered without digests, only
            the sha256 of its graph is checked, when the graph is read.
    """
    recorded = registered_digests(version, tracker)
    places = folders_of(version)
    for folder in folders:
        for file, expected in sorted(recorded.get(folder, {}).items()):
            uri = f"{places[folder].rstrip('/')}/{file}"
            try:
                actual = store.sha256(store.read_bytes(uri))
            except MissingData:
                raise CorruptData(f"version {version.version}: {uri} is gone; restore it") from None
            if actual != expected:
                raise CorruptData(
                    f"version {version.version}: {uri} has sha256 {actual[:12]}, registered is {expected[:12]}; "
                    "restore it, or set the alias to another version"
                )
