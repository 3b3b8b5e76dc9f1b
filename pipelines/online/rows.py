"""The rows of a view in an online store, and the interface of the stores that we read and write directly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from pipelines.online.codec import EntityKeys, encode_column

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureView

StoredRow = tuple[datetime, dict[str, bytes | None]]  # when a row was known, and its values by feature


@dataclass(frozen=True)
class OnlineView:
    """A view with the features to read or write, and the encoding of its keys."""

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
class EncodedRows:
    """The latest rows of a view's entities, encoded; a position in each sequence is an entity.

    Attributes:
        keys: encoded entity keys.
        values: encoded values, by feature.
        texts: values as text, as Feast's SQL stores hold them.
        known_at: knowledge times, in microseconds since 1970.
        created_at: times of writing, likewise; None where unknown.
    """

    keys: Sequence[bytes]
    values: Mapping[str, Sequence[bytes]]
    texts: Mapping[str, Sequence[str | None]]
    known_at: Sequence[int]
    created_at: Sequence[int | None]

    @classmethod
    def of(
        cls, view: FeatureView, table: pa.Table, known_at: Sequence[int], created_at: Sequence[int | None]
    ) -> EncodedRows:
        """The rows of a table with a view's keys, none of them empty, and features, one row for each entity.

        Raises:
            InvalidInput: if a key or a value has the wrong type.
        """
        online = OnlineView.of(view)
        columns = {field.name: encode_column(table[field.name], field.dtype.to_value_type()) for field in view.features}
        names = online.keys.names
        entities = zip(*(table[name].to_pylist() for name in names), strict=True) if names else [()] * len(table)
        return cls(
            keys=[key for values in entities if (key := online.keys.encode(values)) is not None],
            values={name: values for name, (values, _) in columns.items()},
            texts={name: texts for name, (_, texts) in columns.items()},
            known_at=known_at,
            created_at=created_at,
        )


@dataclass(frozen=True)
class Span:
    """Instants from `first_at` (None: from the beginning) up to `last_at`, both included.

    Attributes:
        anew: whether rows of this span may be online already; rows of entities that have none now are then removed.
    """

    first_at: datetime | None
    last_at: datetime
    anew: bool


Changed = Mapping[str, Set[bytes]] | None  # keys by view; None where it is not known what, so it may be everything


class OnlineRows(Protocol):
    """An online store in Feast's own format, so that Feast reads what we write and we read what Feast writes.

    Attributes:
        failures: what its methods raise where the store does not answer.
    """

    failures: tuple[type[Exception], ...]

    def read_note(self, view: str) -> str | None:
        """The note of the last `put` of a view; None if the store has none or lost it."""

    def interrupted_at(self, view: str) -> datetime | None:
        """The last instant of the span of a `put` that was killed, of which some rows may be online; else None."""

    def put(self, view: OnlineView, rows: EncodedRows, span: Span, note: str) -> None:
        """Write `rows`, the latest of a span, over those of a view, then `note`. Online rows after the span stay.

        A call after one that was killed at any point has the same result.
        """

    def push(self, view: OnlineView, rows: EncodedRows) -> None:
        """Write rows over the online rows of their entities, whatever their age."""

    def changed(self, mark: object) -> tuple[object, Changed]:
        """The mark of the store as it is now, and what has been written since an earlier mark; None for no earlier one.

        What was written before the call is in it, whichever process wrote it.
        """

    def get(self, lookups: Sequence[tuple[OnlineView, Sequence[bytes]]]) -> list[dict[bytes, StoredRow]]:
        """For each (view, keys) the stored rows, by key; keys without a row are left out."""
