"""The Feast project of a use case: its configuration, its declarations, and the hash of what is registered."""

from __future__ import annotations

import hashlib
import json
import runpy
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureStore, FeatureView, RepoConfig

from pipelines.errors import InvalidInput
from pipelines.settings import Settings


def open_store(settings: Settings, project: str) -> FeatureStore:
    """The feature store, with our offline store and embedded registry and online store."""
    for place in (settings.registry_path(project), settings.online_path(project)):
        if "://" not in place:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=settings.registry_path(project),
            offline_store={"type": "pipelines.offline.asof_store.AsofOfflineStore", "root": settings.store},
            online_store={"type": "sqlite", "path": settings.online_path(project)},
            entity_key_serialization_version=3,
        )
    )


def declarations(folder: Path) -> list[Any]:
    """Everything that the .py files of a feature repository declare.

    Raises:
        InvalidInput: if there is nothing, or a file does not run.
    """
    found: dict[tuple[str, str], Any] = {}
    for file in sorted(folder.glob("*.py")):
        try:
            namespace = runpy.run_path(str(file))
        except Exception as error:
            raise InvalidInput(f"{file}: {type(error).__name__}: {error}; correct the declarations") from error
        for value in namespace.values():
            if isinstance(value, Entity | FeatureView | FeatureService):
                found[type(value).__name__, value.name] = value
    if not found:
        raise InvalidInput(f"{folder} declares no entity, view or service; correct the use case's feature_repo")
    return list(found.values())


def registry_hash(store: FeatureStore) -> str:
    """sha256 over what is registered: names, keys, types and ttls, without the times of registration."""
    views = [
        {
            "view": view.name,
            "keys": sorted(view.join_keys),
            "ttl": view.ttl.total_seconds() if view.ttl else 0,
            "features": [[field.name, str(field.dtype)] for field in view.features],
            "source": _place(view.batch_source),
        }
        for view in sorted(store.list_feature_views(), key=lambda view: view.name)
    ]
    services = [
        {
            "service": service.name,
            "features": [[p.name, [f.name for f in p.features]] for p in service.feature_view_projections],
        }
        for service in sorted(store.list_feature_services(), key=lambda service: service.name)
    ]
    return hashlib.sha256(json.dumps([views, services], sort_keys=True).encode()).hexdigest()


def _place(source: Any) -> list[str]:
    return [source.path, source.timestamp_field]
