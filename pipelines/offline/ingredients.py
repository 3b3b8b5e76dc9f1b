"""What derived features read of the offline store: the same values that the online store gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.declare.reading import Elements, Recipe, Stored, StoredFeature
from pipelines.graph_inputs import exact_column, string_column
from pipelines.usecase import PREDICTED_AT, Columns

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore


def read_stored(store: FeatureStore, refs: Sequence[str], entities: pd.DataFrame) -> pd.DataFrame:
    """Entity rows with features, `view:feature`, as known at each row's PREDICTED_AT."""
    if not refs:
        return entities
    rows = entities.rename(columns={PREDICTED_AT: "event_timestamp"})
    frame: pd.DataFrame = store.get_historical_features(entity_df=rows, features=[*refs]).to_df()
    return frame.rename(columns={"event_timestamp": PREDICTED_AT})


def as_ingredient(values: pd.Series[Any], feature: StoredFeature) -> NDArray[Any]:
    """A column as derived features read it: instants in whole seconds, as Feast's online stores keep them."""
    import pandas as pd

    if feature.kind is Stored.NUMBER:
        return exact_column(values, feature.ref)
    if feature.kind is Stored.INSTANT:
        instants = pd.to_datetime(values, utc=True).dt.tz_localize(None).to_numpy(dtype="datetime64[s]")
        return instants.astype("datetime64[us]")
    texts = string_column(values, feature.ref)
    texts[texts == ""] = None
    return texts


def read_elements(store: FeatureStore, recipe: Recipe, own: Columns, entities: pd.DataFrame) -> Columns:
    """The columns `Each.elements`: a row of the views for every element, as known when its request is predicted.

    Args:
        own: the request's columns, with those of its lists.
        entities: the examples, with their keys and PREDICTED_AT, in the same order.
    """
    columns = {}
    for of, key in recipe.lists:
        wanted = [(one, feature) for one, feature in recipe.each if (one.of, one.key) == (of, key)]
        elements = Elements.of(own[of], of)
        beside = sorted({name for _, feature in wanted for name in feature.keys} - {key})
        rows = entities[[*beside, PREDICTED_AT]].iloc[elements.rows].assign(**{key: elements.keys})
        refs = [*dict.fromkeys(feature.ref for _, feature in wanted)]
        frame = read_stored(store, refs, rows.reset_index(drop=True)) if len(rows) else None
        for one, feature in wanted:
            values = np.empty(0) if frame is None else as_ingredient(frame[feature.name], feature)
            columns[one.elements] = elements.split(values)
    return columns
