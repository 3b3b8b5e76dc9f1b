"""Online against offline values of the same entities at the same instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from feast import FeatureStore, FeatureView

from pipelines.offline.asof_store import AsofOfflineStore
from pipelines.online import read_online

LOOK_BACK = timedelta(days=30)


def sample_entities(store: FeatureStore, view: FeatureView, as_of: datetime, size: int) -> pd.DataFrame:
    """Up to `size` entities of a view that the last 30 days before `as_of` know, evenly spread over their order."""
    keys = sorted(view.join_keys)
    source: Any = view.batch_source
    oldest = as_of - LOOK_BACK if view.ttl else datetime.min
    rows: pd.DataFrame = AsofOfflineStore.pull_latest_from_table_or_query(
        store.config, source, keys, [], source.timestamp_field, None, oldest, as_of
    ).to_df()
    entities = rows[keys].dropna().drop_duplicates().sort_values(keys)
    step = max(1, len(entities) // size)
    return entities.iloc[::step].head(size).reset_index(drop=True)


def online_values(store: FeatureStore, view: FeatureView, entities: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Values as the online client serves them; a row an entity."""
    refs = [f"{view.name}:{field.name}" for field in view.features]
    rows = read_online(
        store, refs, [dict(zip(entities.columns, row, strict=True)) for row in entities.to_numpy()], as_of
    )
    return pd.DataFrame([dict(row.values) for row in rows], columns=[field.name for field in view.features])


def offline_values(store: FeatureStore, view: FeatureView, entities: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Values as the point-in-time join gives them; a row an entity."""
    names = [field.name for field in view.features]
    frame: pd.DataFrame = store.get_historical_features(
        entity_df=entities.assign(event_timestamp=pd.Timestamp(as_of)), features=[f"{view.name}:{n}" for n in names]
    ).to_df()
    return frame[names]


def compare(view: str, entities: pd.DataFrame, online: pd.DataFrame, offline: pd.DataFrame) -> list[str]:
    """One sentence for each difference beyond float32 rounding. Missing equals missing and nothing else."""
    differences = []
    for name in offline.columns:
        left, right = (frame[name].astype(object).where(frame[name].notna(), None) for frame in (online, offline))
        for row in np.flatnonzero([not _same(a, b) for a, b in zip(left, right, strict=True)]):
            entity, values = entities.iloc[row].to_dict(), (left.iloc[row], right.iloc[row])
            differences.append(f"{view} of {entity}: {name} is {values[0]} online, {values[1]} offline")
    return differences


def _same(online: object, offline: object) -> bool:
    if isinstance(online, float) and isinstance(offline, float):
        return bool(np.isclose(online, offline, rtol=1e-6, atol=1e-9))
    return online == offline
