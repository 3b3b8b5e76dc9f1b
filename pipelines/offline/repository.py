"""The Feast project of a use case: its configuration, its declarations, and the hash of what is registered."""

from __future__ import annotations

import hashlib
import json
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureStore, FeatureView, RepoConfig

from pipelines.errors import InvalidInput
from pipelines.online.places import online_store
from pipelines.settings import Settings

JUST_BEFORE = timedelta(microseconds=1)  # Feast takes the end of a materialization as included


def open_store(settings: Settings, project: str) -> FeatureStore:
    """The feature store, with our offline store, a registry in SQL and an online store in SQLite or Redis.

    Raises:
        InvalidInput: if the online store's place is none of them.
    """
    for place in (settings.registry(project), settings.online_path(project)):
        if place.startswith("sqlite:///") or "://" not in place:
            Path(place.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry={
                "registry_type": "sql",
                "path": settings.registry(project),
                "serve_features_while_materializing": True,  # or else training fails whenever features are materialized
            },
            offline_store={"type": "pipelines.offline.asof_store.AsofOfflineStore", "root": settings.store},
            online_store=online_store(settings.online_path(project)),
            entity_key_serialization_version=3,
            coerce_tz_aware=False,  # the offline store reads instants without a zone in UTC itself, without a copy
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


def online_stands_at(store: FeatureStore) -> datetime | None:
    """The instant before which every view's knowledge is in the online store; None before the first materialization."""
    ends = [view.most_recent_end_time for view in store.list_feature_views()]
    return min(end.astimezone(UTC) for end in ends if end) + JUST_BEFORE if ends and all(ends) else None


def note_online_stands_at(store: FeatureStore, at: datetime) -> None:
    """Say that everything known before an instant has been pushed: no materialization goes back before it."""
    for view in store.list_feature_views():
        since = view.most_recent_end_time
        if since is None or since.astimezone(UTC) < at - JUST_BEFORE:
            store.registry.apply_materialization(view, store.project, since or at - JUST_BEFORE, at - JUST_BEFORE)


def _place(source: Any) -> list[str]:
    return [source.path, source.timestamp_field]
