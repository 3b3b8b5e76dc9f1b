"""The online store of a Feast project, by the kind that its configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.errors import InvalidInput
from pipelines.online.places import UTC_SQLITE
from pipelines.online.rows import OnlineRows

if TYPE_CHECKING:
    from feast import FeatureStore


def open_rows(store: FeatureStore, patience: float | None = None) -> OnlineRows:
    """The rows behind a feature store.

    Args:
        patience: seconds that a call waits for the store; by default as the store's own client does.

    Raises:
        InvalidInput: if its online store is neither our SQLite store nor Redis.
    """
    config: Any = store.config
    kind = str(config.online_store.type)
    if kind == UTC_SQLITE:
        from pipelines.online.sqlite import SqliteRows

        return SqliteRows(store, patience)
    if kind == "redis":
        from pipelines.online.redis import RedisRows

        return RedisRows(store, patience)
    raise InvalidInput(f"the online store {kind} is not supported; choose {UTC_SQLITE} or redis")
