"""The Feast project of a use case: its configuration, its declarations, and the hash of its registry."""

from __future__ import annotations

import hashlib
import json
import runpy
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from feast import Entity, FeatureService, FeatureStore, FeatureView, OnDemandFeatureView, RepoConfig

from pipelines.declare.feast_objects import feast_objects
from pipelines.engines import explain, open_engine
from pipelines.errors import InvalidInput
from pipelines.offline.sources import period_of
from pipelines.online.places import online_store
from pipelines.periods import A_DAY, A_MINUTE
from pipelines.settings import Settings
from pipelines.usecase import UseCase

VARIABLE = "FLIGHTDECK_FEAST_REGISTRY"
WITH_FUNCTIONS = ("on_demand_feature_views", "stream_feature_views", "validation_references")  # tables of a registry


def open_store(settings: Settings, project: str, period: timedelta = A_DAY) -> FeatureStore:
    """The feature store, with our offline store, a registry in SQL and an online store in SQLite or Redis.

    Training, materialization, pushes and serving all read this registry. It holds no on-demand view: Feast executes the
    functions of a registry that it opens, and serving must not execute code from a database.

    Args:
        period: the length of the periods that features have partitions for.

    Raises:
        InvalidInput: if the registry holds a function (nothing is executed then), or the online store's place is
            neither SQLite nor Redis.
    """
    registry = settings.registry(project)
    if kinds := functions_in(registry):
        raise InvalidInput(
            f"the registry {sa.make_url(registry)!r} holds functions, which Feast would execute ({', '.join(kinds)}); "
            "set FLIGHTDECK_FEAST_REGISTRY to another database and run apply_features"
        )
    return _open(settings, project, registry, period)


def open_declared(settings: Settings, project: str, period: timedelta = A_DAY) -> FeatureStore:
    """The same store with the registry of all declarations, including on-demand views with their functions.

    It is for manual work with Feast (notebooks, its command line, its feature server). The chain does not read it, and
    it does not record materializations.
    """
    registry = settings.declared_registry(project)
    open_engine(registry, "FLIGHTDECK_FEAST_DECLARED", "Feast's registry of declarations").dispose()
    return _open(settings, project, registry, period)


def _open(settings: Settings, project: str, registry: str, period: timedelta) -> FeatureStore:
    online = settings.online_path(project)
    if "://" not in online:
        Path(online).parent.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(config=_config(settings, project, registry, period))
    engines: Any = store.registry
    for engine in {engines.read_engine, engines.write_engine}:
        explain(engine, VARIABLE, "Feast's registry")
    return store


def _config(settings: Settings, project: str, registry: str, period: timedelta) -> RepoConfig:
    return RepoConfig(
        project=project,
        provider="local",
        registry={
            "registry_type": "sql",
            "path": registry,
            "serve_features_while_materializing": True,  # otherwise training fails while features are materialized
        },
        offline_store={
            "type": "pipelines.offline.asof_store.AsofOfflineStore",
            "root": settings.store,
            "period": period // A_MINUTE,
        },
        online_store=online_store(settings.online_path(project)),
        entity_key_serialization_version=3,
        coerce_tz_aware=False,  # the offline store itself reads instants without a zone as UTC, without a copy
    )


def functions_in(registry: str) -> list[str]:
    """The kinds of objects with functions in a registry, read without Feast, which would execute the functions."""
    engine = open_engine(registry, VARIABLE, "Feast's registry")
    try:
        there = set(sa.inspect(engine).get_table_names())
        with engine.connect() as connection:
            return [
                table
                for table in WITH_FUNCTIONS
                if table in there and connection.execute(sa.select(sa.literal(1)).select_from(sa.table(table))).first()
            ]
    finally:
        engine.dispose()


def apply(settings: Settings, store: FeatureStore, objects: Sequence[Any]) -> None:
    """Register everything in the registry of declarations, and all but on-demand views in the served registry."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "On demand feature view is an experimental", RuntimeWarning)
        open_declared(settings, store.project, period_of(store.config)).apply(list(objects))
    store.apply([_served_declaration(one) for one in objects if not isinstance(one, OnDemandFeatureView)])


def _served_declaration(declaration: Any) -> Any:
    """A declaration as the served registry has it: a service without its on-demand features."""
    if not isinstance(declaration, FeatureService):
        return declaration
    features = [view for view in declaration._features if not isinstance(view, OnDemandFeatureView)]
    return FeatureService(
        name=declaration.name,
        features=features,
        tags=declaration.tags,
        description=declaration.description,
        owner=declaration.owner,
    )


def declarations_of(usecase: UseCase) -> list[Any]:
    """Everything that is declared to Feast: by the files of `feature_repo` or, where there is none, by feature tables.

    Raises:
        InvalidInput: as `declarations`; or if a key has a type that cannot be one.
    """
    if usecase.feature_repo is not None:
        return declarations(usecase.feature_repo)
    return [*feast_objects(usecase).values()]


def declarations(folder: Path) -> list[Any]:
    """Everything that the .py files of a feature repository declare.

    Raises:
        InvalidInput: if there are no declarations, a file fails to run, or an argument has the wrong type for Feast.
    """
    objects: dict[tuple[str, str], Any] = {}
    for file in sorted(folder.glob("*.py")):
        try:
            namespace = runpy.run_path(str(file))
        except Exception as error:
            raise InvalidInput(f"{file}: {type(error).__name__}: {error}; correct the declarations") from error
        for value in namespace.values():
            if isinstance(value, Entity | FeatureView | OnDemandFeatureView | FeatureService):
                objects[type(value).__name__, value.name] = value
    if not objects:
        raise InvalidInput(f"{folder} declares no entity, view or service; correct the use case's feature_repo")
    for (kind, name), one in objects.items():
        try:
            one.to_proto()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise InvalidInput(f"{folder}: {kind} {name!r} ({problem}); correct the types of its arguments") from error
    return list(objects.values())


def registry_hash(store: FeatureStore) -> str:
    """sha256 over the registered names, keys, types and ttls, without the times of registration."""
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
