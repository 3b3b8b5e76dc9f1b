"""Online features with freshness enforced: Feast serves expired values as if they were fresh (feast-dev/feast#6821)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feast import FeatureStore


@dataclass(frozen=True)
class OnlineFeatures:
    """Features of one entity row.

    Attributes:
        values: by feature name; None where there is no value or it is not fresh.
        ages: by feature name, counted from `as_of`; None where there is no value at all.
    """

    values: Mapping[str, Any]
    ages: Mapping[str, timedelta | None]


def read_online(
    store: FeatureStore,
    features: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    as_of: datetime,
    ttls: Mapping[str, timedelta | None] | None = None,
) -> list[OnlineFeatures]:
    """Features (as `view:feature`) of each entity row, as they stand online, judged at `as_of`.

    A value known after `as_of` or older than its view's ttl comes back as missing, with its age.

    Args:
        ttls: by view, for a caller that reads often; by default looked up, which costs more than the read.
    """
    if not rows:
        return []
    views = {ref.split(":")[1]: ref.split(":")[0] for ref in features}
    known = ttls if ttls is not None else {view: store.get_feature_view(view).ttl for view in set(views.values())}
    lives = {name: known[view] for name, view in views.items()}
    response = store.get_online_features(features=list(features), entity_rows=[dict(row) for row in rows])
    columns = response.to_dict()
    names = list(response.proto.metadata.feature_names.val)
    read = []
    for number in range(len(rows)):
        values: dict[str, Any] = {}
        ages: dict[str, timedelta | None] = {}
        for name, result in zip(names, response.proto.results, strict=True):
            if name not in lives:
                continue
            known_at = datetime.fromtimestamp(result.event_timestamps[number].seconds, UTC)
            present = columns[name][number] is not None
            age, ttl = as_of - known_at, lives[name]
            fresh = timedelta(0) <= age and (not ttl or age <= ttl)
            values[name] = columns[name][number] if present and fresh else None
            ages[name] = age if present else None
        read.append(OnlineFeatures(values, ages))
    return read
