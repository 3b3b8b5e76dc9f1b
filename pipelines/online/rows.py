"""What an online store holds of a view, and the interface of those that we write and read ourselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from pipelines.online.codec import EntityKeys, encode_column

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureView

Held = tuple[datetime, Mapping[str, bytes | None]]  # when a row was known, and its values by feature


@dataclass(frozen=True)
class OnlineView:
    """One view as an online store holds it."""

    name: str
    features: tuple[str, ...]
    keys: EntityKeys

    @classmethod
    def of(cls, view: FeatureView, features: Sequence[str] | None = None) -> OnlineView:
        """A view, with some of its features or all."""
        from feast.feature_view import DUMMY_ENTITY_ID

        fields = [field for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]
        types = {field.name: field.dtype.to_value_type() for field in fields}
        return cls(view.name, tuple(features or [field.name for field in view.features]), EntityKeys(types))


@dataclass(frozen=True)
class Rows:
    """The latest rows of a view's entities, a position an entity.

    Attributes:
        keys: encoded.
        values: encoded, by feature.
        texts: the same as Feast's SQL stores show them.
        known: microseconds since 1970.
        created: the same, None where it is not known.
    """

    keys: Sequence[bytes]
    values: Mapping[str, Sequence[bytes]]
    texts: Mapping[str, Sequence[str | None]]
    known: Sequence[int]
    created: Sequence[int | None]

    @classmethod
    def of(cls, view: FeatureView, table: pa.Table, known: Sequence[int], created: Sequence[int | None]) -> Rows:
        """The rows of a table that has the keys, none of them empty, and the features of a view, a row an entity.

        Raises:
            InvalidInput: if a key or a value is not of its type.
        """
        online = OnlineView.of(view)
        columns = {field.name: encode_column(table[field.name], field.dtype.to_value_type()) for field in view.features}
        names = online.keys.names
        entities = zip(*(table[name].to_pylist() for name in names), strict=True) if names else [()] * len(table)
        return cls(
            keys=[key for values in entities if (key := online.keys.encode(values)) is not None],
            values={name: values for name, (values, _) in columns.items()},
            texts={name: texts for name, (_, texts) in columns.items()},
            known=known,
            created=created,
        )


@dataclass(frozen=True)
class Span:
    """Instants from `first_at` (None: from the beginning) up to `last_at`, both included.

    Attributes:
        anew: whether rows of this span may be online already; those of entities that have none now are then removed.
    """

    first_at: datetime | None
    last_at: datetime
    anew: bool


class OnlineRows(Protocol):
    """An online store in Feast's own format, so that Feast reads what we write and we read what Feast writes."""

    def given(self, view: str) -> str | None:
        """What was noted with the last `put` of a view; None if the store has none or lost it."""

    def begun(self, view: str) -> datetime | None:
        """The last instant of a `put` that was killed on the way and of which something may be online."""

    def put(self, view: OnlineView, rows: Rows, span: Span, given: str) -> None:
        """Bring a view to `rows`, the latest of a span; what is online from after the span stays. Then note `given`.

        Done again after it was killed at any point, it leaves the same.
        """

    def push(self, view: OnlineView, rows: Rows) -> None:
        """Write rows over whatever is online of their entities."""

    def get(self, asked: Sequence[tuple[OnlineView, Sequence[bytes]]]) -> list[dict[bytes, Held]]:
        """For each (view, keys) what is held, by key; keys that are not held are left out."""
