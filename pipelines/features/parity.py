"""Comparison of online and offline values of the same entities at the same instant."""

from __future__ import annotations

import numbers
from collections.abc import Collection
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from feast import FeatureStore, FeatureView
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.graph_inputs import number_column, spelling, string_column
from pipelines.instants import MICROSECOND, micros
from pipelines.offline.reading import AT, latest_rows
from pipelines.offline.sources import keys_of, source_of
from pipelines.online import read_online
from pipelines.usecase import ModelInputs

KNOWN_AT = AT  # in samples: the knowledge time of the entity's latest row, in microseconds since 1970
TRUTH, NUMBER, SEQUENCE = bool | np.bool_, numbers.Real | Decimal, list | np.ndarray
KINDS = (TRUTH, NUMBER, str, date, SEQUENCE)  # of values that can be equal; truth values are not numbers


def sample_entities(store: FeatureStore, view: FeatureView, as_of: datetime, size: int) -> pd.DataFrame:
    """A sample of the entities of a view known before or at `as_of`: their keys, in order, and KNOWN_AT.

    Up to `size` entities with fresh values, evenly spread over their order, and a quarter as many with expired values;
    the one nearest to expiry of each kind is included. The same rows give the same sample.
    """
    keys = keys_of(view)
    latest = latest_rows(store.config, source_of(view), keys, [], None, as_of)
    rows: pd.DataFrame = latest.select([*keys, KNOWN_AT]).to_pandas()
    expired = rows[KNOWN_AT] < micros(as_of) - view.ttl // MICROSECOND if view.ttl else pd.Series(False, rows.index)
    fresh, stale = rows[~expired], rows[expired]
    picks = {*_spread(fresh, size), *_spread(stale, size // 4)}
    picks |= {side[KNOWN_AT].agg(edge) for side, edge in ((fresh, "idxmin"), (stale, "idxmax")) if len(side)}
    sample: pd.DataFrame = rows.loc[sorted(picks)].reset_index(drop=True)
    return sample


def _spread(rows: pd.DataFrame, size: int) -> list[int]:
    places = np.linspace(0, len(rows) - 1, min(size, len(rows))).round().astype(int)
    return [int(row) for row in rows.index[places]]


def keep_unmoved(store: FeatureStore, view: FeatureView, entities: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """The entities whose online row was known by an instant: a row pushed later cannot be compared as of it."""
    refs = [f"{view.name}:{field.name}" for field in view.features]
    ages = [list(row.ages.values()) for row in read_online(store, refs, _records(entities), at)]
    stood = [any(ages) and all(age is None or age >= timedelta(0) for age in ages) for ages in ages]
    older: pd.DataFrame = entities[stood].reset_index(drop=True)
    return older


def online_values(store: FeatureStore, view: FeatureView, entities: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Values as the online client serves them; one row for each entity."""
    refs = [f"{view.name}:{field.name}" for field in view.features]
    rows = read_online(store, refs, _records(entities), as_of)
    names = [field.name for field in view.features]
    return pd.DataFrame([dict(row.values) for row in rows], columns=names, dtype=object)


def offline_values(store: FeatureStore, view: FeatureView, entities: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Values as the point-in-time join returns them; one row for each entity."""
    names = [field.name for field in view.features]
    frame: pd.DataFrame = store.get_historical_features(
        entity_df=entities.drop(columns=KNOWN_AT).assign(event_timestamp=pd.Timestamp(as_of)),
        features=[f"{view.name}:{name}" for name in names],
    ).to_df()
    values: pd.DataFrame = frame[names].astype(object)
    return values


def compare(
    view: str, entities: pd.DataFrame, online: pd.DataFrame, offline: pd.DataFrame, models: Collection[ModelInputs] = ()
) -> list[str]:
    """One sentence for each difference in the values that a graph would get. Missing equals only missing.

    Args:
        models: the inputs of the models. A feature that a model reads as a category is compared in the spelling of its
            graph, one that a model reads as a number as float32 with its rounding. Values of other features are equal
            only if they have the same kind: 1 is neither "1" nor true.

    Raises:
        InvalidInput: if a categorical input has a value without a spelling.
    """
    differences = []
    keys = [{name: key for name, key in row.items() if name != KNOWN_AT} for row in _records(entities)]
    for name in offline.columns:
        left, right = (frame[name].astype(object).where(frame[name].notna(), None) for frame in (online, offline))
        same = np.full(len(left), True)
        if categorical := any(name in inputs.categorical for inputs in models):
            same &= string_column(left, name) == string_column(right, name)
        if numeric := any(name in inputs.numeric for inputs in models):
            same &= _same_numbers(left, right, name)
        if not categorical and not numeric:
            same &= [_same(a, b) for a, b in zip(left, right, strict=True)]
        for row in np.flatnonzero(~same):
            values = left.iloc[row], right.iloc[row]
            differences.append(
                f"{view} of {keys[row]}: {name} is {_describe(*values)} online, {_describe(*values[::-1])} offline"
            )
    return differences


def _same_numbers(online: pd.Series[Any], offline: pd.Series[Any], name: str) -> NDArray[np.bool_]:
    try:
        fed = number_column(online, name), number_column(offline, name)
    except InvalidInput:  # text, which no model reads as a number
        return np.array([_same(a, b) for a, b in zip(online, offline, strict=True)], dtype=bool)
    return np.isclose(*fed, rtol=1e-6, atol=1e-9, equal_nan=True)


def _same(online: Any, offline: Any) -> bool:
    kinds = [next((kind for kind in KINDS if isinstance(value, kind)), object) for value in (online, offline)]
    if kinds[0] != kinds[1] or online is None or offline is None:
        return online is offline
    if kinds[0] == SEQUENCE:
        return len(online) == len(offline) and all(_same(a, b) for a, b in zip(online, offline, strict=True))
    if kinds[0] == date:
        return spelling(online) == spelling(offline)
    if isinstance(online, float | np.floating) or isinstance(offline, float | np.floating):
        return bool(np.isclose(float(online), float(offline), rtol=1e-6, atol=1e-9))
    return bool(online == offline)


def _describe(value: Any, other: Any) -> str:
    """A value as text, quoted where the other value has the same text."""
    return repr(value) if str(value) == str(other) else str(value)


def _records(entities: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(map(str, entities.columns), row, strict=True)) for row in entities.itertuples(index=False)]
