"""Online against offline values of the same entities at the same instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from feast import FeatureStore, FeatureView

from pipelines.offline.reading import AT, latest_rows
from pipelines.offline.sources import keys_of, micros, source_of
from pipelines.online import read_online

KNOWN_AT = AT  # in samples: microseconds since 1970 at which the entity's latest row was known
MICROSECOND = timedelta(microseconds=1)


def sample_entities(store: FeatureStore, view: FeatureView, as_of: datetime, size: int) -> pd.DataFrame:
    """Entities of a view known before or at `as_of`: their keys, in order, and KNOWN_AT.

    Up to `size` of those whose values have not expired, evenly spread over their order, and a quarter as many of those
    whose values have; of both the one nearest to the edge. The same rows give the same sample.
    """
    keys = keys_of(view)
    latest = latest_rows(store.config, source_of(view), keys, [], None, as_of)
    rows: pd.DataFrame = latest.select([*keys, KNOWN_AT]).to_pandas()
    expired = rows[KNOWN_AT] < micros(as_of) - view.ttl // MICROSECOND if view.ttl else pd.Series(False, rows.index)
    fresh, stale = rows[~expired], rows[expired]
    chosen = {*_spread(fresh, size), *_spread(stale, size // 4)}
    chosen |= {side[KNOWN_AT].agg(edge) for side, edge in ((fresh, "idxmin"), (stale, "idxmax")) if len(side)}
    sample: pd.DataFrame = rows.loc[sorted(chosen)].reset_index(drop=True)
    return sample


def _spread(rows: pd.DataFrame, size: int) -> list[int]:
    places = np.linspace(0, len(rows) - 1, min(size, len(rows))).round().astype(int)
    return [int(row) for row in rows.index[places]]


def unmoved(store: FeatureStore, view: FeatureView, entities: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """Those of the entities whose row online was known by an instant; one that was pushed later says nothing of it."""
    refs = [f"{view.name}:{field.name}" for field in view.features]
    ages = [list(row.ages.values()) for row in read_online(store, refs, _records(entities), at)]
    stood = [any(ages) and all(age is None or age >= timedelta(0) for age in ages) for ages in ages]
    kept: pd.DataFrame = entities[stood].reset_index(drop=True)
    return kept


def online_values(store: FeatureStore, view: FeatureView, entities: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Values as the online client serves them; a row an entity."""
    refs = [f"{view.name}:{field.name}" for field in view.features]
    rows = read_online(store, refs, _records(entities), as_of)
    return pd.DataFrame([dict(row.values) for row in rows], columns=[field.name for field in view.features])


def offline_values(store: FeatureStore, view: FeatureView, entities: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Values as the point-in-time join gives them; a row an entity.

    Feast's SQLite store keeps whole seconds, rounded down, so that a value expires there up to a second early; within
    that second it counts as expired here, too.
    """
    names = [field.name for field in view.features]
    frame: pd.DataFrame = store.get_historical_features(
        entity_df=entities.drop(columns=KNOWN_AT).assign(event_timestamp=pd.Timestamp(as_of)),
        features=[f"{view.name}:{name}" for name in names],
    ).to_df()
    kept = entities[KNOWN_AT] // _resolution(store) * _resolution(store)
    expired = kept < micros(as_of) - view.ttl // MICROSECOND if view.ttl else pd.Series(False, entities.index)
    values = frame[names].astype(object)
    values.loc[expired.to_numpy()] = None
    return values


def _resolution(store: FeatureStore) -> int:
    """Microseconds in what the online store tells apart."""
    return 1_000_000 if store.config.online_store.type == "sqlite" else 1


def compare(view: str, entities: pd.DataFrame, online: pd.DataFrame, offline: pd.DataFrame) -> list[str]:
    """One sentence for each difference beyond float32 rounding. Missing equals missing and nothing else."""
    differences = []
    keys = [{name: key for name, key in row.items() if name != KNOWN_AT} for row in _records(entities)]
    for name in offline.columns:
        left, right = (frame[name].astype(object).where(frame[name].notna(), None) for frame in (online, offline))
        for row in np.flatnonzero([not _same(a, b) for a, b in zip(left, right, strict=True)]):
            values = left.iloc[row], right.iloc[row]
            differences.append(f"{view} of {keys[row]}: {name} is {values[0]} online, {values[1]} offline")
    return differences


def _records(entities: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(map(str, entities.columns), row, strict=True)) for row in entities.itertuples(index=False)]


def _same(online: object, offline: object) -> bool:
    if isinstance(online, float) and isinstance(offline, float):
        return bool(np.isclose(online, offline, rtol=1e-6, atol=1e-9))
    return bool(online == offline)
