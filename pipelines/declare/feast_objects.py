"""Feast's declarations of a use case, derived from its feature tables and model inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Int32, Int64, String, UnixTimestamp

from pipelines.declare.derived import Each, derived_of
from pipelines.declare.views import Declared
from pipelines.errors import InvalidInput
from pipelines.usecase import KNOWN_AT, ModelInputs, UseCase

KINDS: Mapping[str, tuple[ValueType, Any]] = {
    "string": (ValueType.STRING, String),
    "int32": (ValueType.INT32, Int32),
    "int64": (ValueType.INT64, Int64),
}
TYPES = {"number": Float32, "instant": UnixTimestamp}


def feast_objects(
    usecase: UseCase, beside: Mapping[str, Sequence[Any]] | None = None, names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """By name: an entity for each key, a view for each declared feature table, a service for each of `model_inputs`.

    A service has, of every view, the features that are among its inputs or that its derived inputs read. For a file of
    `feature_repo`, which Feast's own command line reads too: `globals().update(feast_objects(USECASE))`.

    Args:
        beside: by service, views that come first in it and are declared by hand, such as an on-demand view.
        names: of entities, by key, where they differ from it.

    Raises:
        InvalidInput: if a key has a type that Feast takes for none, or an input stands in two views.
    """
    views = [table for table in usecase.feature_tables if isinstance(table, Declared)]
    kinds = {key: _kind(key, usecase) for view in views for key in view.keys}
    entities = {
        key: Entity(name=(names or {}).get(key, key), join_keys=[key], value_type=kind[0])
        for key, kind in kinds.items()
    }
    made = {view.name: _view(view, [entities[key] for key in view.keys], kinds) for view in views}
    services = {
        service: FeatureService(
            name=service,
            features=[*(beside or {}).get(service, ()), *_projections(views, made, _stored(usecase, inputs))],
        )
        for service, inputs in usecase.model_inputs.items()
    }
    return {**{f"entity_{entity.name}": entity for entity in entities.values()}, **made, **services}


def _view(view: Declared, entities: list[Entity], kinds: Mapping[str, tuple[ValueType, Any]]) -> FeatureView:
    keys = [Field(name=key, dtype=kinds[key][1]) for key in view.keys]
    features = [Field(name=one.name, dtype=TYPES[one.type], description=one.means) for one in view.features]
    return FeatureView(
        name=view.name,
        entities=entities,
        ttl=view.ttl,
        schema=keys + features,
        source=FileSource(name=view.name, path=f"features/{view.name}", timestamp_field=KNOWN_AT),
    )


def _stored(usecase: UseCase, inputs: ModelInputs) -> list[str]:
    """The inputs, and what those that are derived read."""
    names = [*inputs.names]
    for one in reversed(derived_of(usecase)):
        if set(names).intersection(one.names):
            names += [one.feature] if isinstance(one, Each) else one.reads
    return [*dict.fromkeys(names)]


def _projections(views: Sequence[Declared], made: Mapping[str, FeatureView], inputs: Sequence[str]) -> list[Any]:
    """The views with those of their features that are inputs."""
    chosen = []
    for view in views:
        features = [name for name in inputs if name in view.names]
        if features:
            chosen.append(made[view.name] if len(features) == len(view.names) else made[view.name][features])
    return chosen


def _kind(key: str, usecase: UseCase) -> tuple[ValueType, Any]:
    """The types of a key: of the raw tables' column of that name, or text where none has one."""
    kind = next((table.columns[key] for table in usecase.tables if key in table.columns), "string")
    if kind not in KINDS:
        raise InvalidInput(
            f"key {key} is {kind}; entity keys are {', '.join(KINDS)}: declare the column as one of these"
        )
    return KINDS[kind]
