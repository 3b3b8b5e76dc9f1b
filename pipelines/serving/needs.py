"""The inputs of models: where they come from, and their names in the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pipelines.declare.reading import Recipe, of_requests, recipe_of, stored_features
from pipelines.errors import InvalidInput
from pipelines.usecase import ModelInputs, UseCase

if TYPE_CHECKING:
    from feast import FeatureStore


@dataclass(frozen=True)
class Needs:
    """The inputs of one model, and where they come from.

    Attributes:
        numeric: its inputs, in order.
        categorical: its inputs, in order.
        refs: `view:feature` of the inputs that are stored; the others come from the request, or are derived.
        ttls: by view, of the views that are read.
        recipe: of the derived inputs.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    refs: Mapping[str, str]
    ttls: Mapping[str, timedelta | None]
    recipe: Recipe

    def source(self, name: str) -> tuple[str, ...]:
        """The stored features behind an input, as `view:feature`; none where it comes from the request alone."""
        return (self.refs[name],) if name in self.refs else self.recipe.refs_of(name)


def needs_of(store: FeatureStore, service: str, inputs: ModelInputs, usecase: UseCase) -> Needs:
    """The needs of a model with these inputs, trained on a feature service.

    Raises:
        InvalidInput: if the service is not registered, a view needs a key that requests do not provide, or a derived
            input reads what the service does not have.
    """
    features = stored_features(store, service)
    recipe, plain = recipe_of(usecase, inputs.names, features, service), of_requests(usecase, features)
    other = {*recipe.names, *usecase.request_columns} - plain.keys()
    read = {one.name: one for one in (*features, *plain.values()) if one.name in {*inputs.names} - other}
    missing_keys = {key for one in (*read.values(), *recipe.stored) for key in one.keys} - {
        *usecase.request_columns,
        *usecase.request_keys,
    }
    if missing_keys:
        raise InvalidInput(
            f"requests lack the keys {sorted(missing_keys)} of {service}; add them to request_columns or request_keys"
        )
    views = {one.view for one in (*read.values(), *recipe.stored, *(feature for _, feature in recipe.each))}
    ttls = {view: store.get_feature_view(view).ttl for view in sorted(views)}
    return Needs(inputs.numeric, inputs.categorical, {name: one.ref for name, one in read.items()}, ttls, recipe)


def logged_names(needs: Sequence[Needs]) -> list[dict[str, str]]:
    """For each model, the name in the log of each of its inputs.

    That is the input's own name; where models read the name from different views, it is `view:feature`, or, of a
    derived input, the name and all stored features behind it.
    """
    sources: dict[str, set[tuple[str, ...]]] = {}
    for need in needs:
        for name in (*need.numeric, *need.categorical):
            sources.setdefault(name, set()).add(need.source(name))

    def label(need: Needs, name: str) -> str:
        if len(sources[name]) == 1:
            return name
        return need.refs.get(name) or " ".join((name, *need.source(name)))

    return [{name: label(need, name) for name in (*need.numeric, *need.categorical)} for need in needs]
