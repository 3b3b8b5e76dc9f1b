"""The files of a Feast source, and the names of its columns there.

A source with a relative path lies in the project's store at ROOT/PROJECT/PATH: one Parquet file for each period of its
timestamp, or a single `all.parquet`. Instants are whole microseconds since 1970, in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipelines.errors import InvalidInput, MissingData
from pipelines.instants import EPOCH, sql_micros, utc
from pipelines.periods import A_DAY
from pipelines.quoting import VIRTUAL, quoted, twins

if TYPE_CHECKING:
    from feast import FeatureView
    from feast.repo_config import RepoConfig

    from pipelines.periods import Period
    from pipelines.store import Layout

ZONE_SLACK = timedelta(days=1)  # a local day may begin up to a day before or after UTC's
LATER_IN_STORE = "file_index desc, file_row_number desc"  # the last of equal rows comes first


@dataclass(frozen=True)
class FeatureSource:
    """A Feast source and the names of its columns in the files.

    Attributes:
        name: ZONE/TABLE.
        stored: name in the files by declared name, where they differ.
        timestamp: declared name of the column with the knowledge time.
        created: declared name of the column with the time of writing, if any.
        floats: declared names of the float32 features, which are read as such whatever type the files have.
    """

    name: str
    stored: Mapping[str, str]
    timestamp: str
    created: str | None
    floats: frozenset[str] = frozenset()

    def column(self, declared: str) -> str:
        """SQL of a column, by its declared name."""
        return quoted(self.stored.get(declared, declared)) + ("::float" if declared in self.floats else "")

    def at(self) -> str:
        """SQL of a row's knowledge time, rounded up to a microsecond."""
        return sql_micros(self.column(self.timestamp))

    def created_at(self) -> str:
        """SQL of a row's time of writing, null where that is not declared."""
        return sql_micros(self.column(self.created)) if self.created else "null::bigint"

    def newest_first(self) -> str:
        """SQL order in which the first row of a key is its latest.

        Of rows known at the same instant the one written last comes first, and rows without a time of writing come
        last; of equal rows the last in the store comes first: the later partition, then the later row.
        """
        return f"{self.at()} desc, {self.created_at()} desc nulls last, {LATER_IN_STORE}"


def source_of(view: FeatureView) -> FeatureSource:
    from feast.types import Float32

    source: Any = view.batch_source
    _require_distinct(view)
    return FeatureSource(
        name=str(source.path),
        stored={declared: stored for stored, declared in (source.field_mapping or {}).items()},
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        floats=frozenset(field.name for field in view.features if field.dtype == Float32),
    )


def _require_distinct(view: FeatureView) -> None:
    """Refuse names that DuckDB cannot distinguish.

    Raises:
        InvalidInput: naming them.
    """
    names = [*keys_of(view), *(field.name for field in view.features)]
    if alike := twins(names):
        raise InvalidInput(f"{view.name}: {alike[0]} and {alike[1]} differ in the case of letters only; rename one")
    if reserved := [name for name in names if name.lower() in VIRTUAL or name.startswith("__")]:
        raise InvalidInput(f"{view.name}: the offline store has a column {reserved[0]} of its own; rename the feature")


def keys_of(view: FeatureView) -> list[str]:
    """The join keys of a view, in order of name; empty for a view without entities, where Feast has a placeholder."""
    from feast.feature_view import DUMMY_ENTITY_ID

    return sorted(key for key in view.join_keys if key != DUMMY_ENTITY_ID)


def layout_of(config: RepoConfig) -> Layout:
    from pipelines.store import Layout, Store

    return Layout(Store(config.offline_store.root), config.project, period_of(config))


def period_of(config: RepoConfig) -> timedelta:
    """The length of the periods that the store's features have partitions for."""
    return timedelta(minutes=config.offline_store.period)


def files_between(
    data: Layout, source: FeatureSource, first_at: datetime | None, last_at: datetime | None
) -> list[str]:
    """The files that can hold a row known between two instants, both included; None for no bound.

    Raises:
        MissingData: if there are none, or a period between them has no partition.
    """
    zone, _, table = source.name.partition("/")
    first = _beside(utc(first_at) - ZONE_SLACK, data) if first_at and utc(first_at) > EPOCH else None
    last = _beside(utc(last_at) + ZONE_SLACK, data) if last_at and last_at.year < 9999 else None
    periods = [one for one in data.periods(zone, table) if (not first or one >= first) and (not last or one <= last)]
    single = data.partition(zone, table, None)
    if periods:
        if (lacking := data.first_gap(periods)) is not None:
            raise MissingData(f"{source.name} lacks {lacking} among what is to be read; build its features")
        return [data.partition(zone, table, one) for one in periods]
    if data.store.exists(single):
        return [single]
    raise MissingData(f"{source.name} holds nothing between {first} and {last}; build the features of those days")


def _beside(instant: datetime, data: Layout) -> Period:
    """An instant that periods can be compared with."""
    return instant.date() if data.length == A_DAY else instant
