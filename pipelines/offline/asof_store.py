"""A Feast offline store on DuckDB's `ASOF JOIN`.

Feast finds it by its path in `offline_store.type`. A source named by a relative path lies in the store of the project:
ROOT/PROJECT/PATH, one Parquet file a day of its timestamp, or a single `all.parquet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb
import pandas as pd
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from pipelines.errors import MissingData
from pipelines.store import Layout, Store

FOREVER = timedelta(0)  # Feast's word for a value that never expires
ZONE_SLACK = timedelta(days=1)  # a partition's local day may begin up to a day apart from UTC's


class AsofOfflineStoreConfig(FeastConfigBaseModel):
    """Settings in feature_store.yaml: where the store lies."""

    type: Literal["pipelines.offline.asof_store.AsofOfflineStore"] = "pipelines.offline.asof_store.AsofOfflineStore"
    root: str


class AsofRetrievalJob(RetrievalJob):
    """A query that runs when its result is asked for."""

    def __init__(
        self,
        query: Callable[[], pa.Table],
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._query = query
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._query()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._query().to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        raise NotImplementedError("saved datasets are not kept in this store; training sets are files of their own")


class AsofOfflineStore(OfflineStore):
    """Point-in-time joins by `ASOF JOIN`, the latest rows by `arg_max`; both over the days that can matter only."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """For every entity row the latest values known at its timestamp and not older than the view's ttl."""
        if not isinstance(entity_df, pd.DataFrame):
            raise NotImplementedError("entity rows must be a pandas DataFrame; SQL strings are not supported")
        stamp = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        entities = entity_df.assign(**{stamp: pd.to_datetime(entity_df[stamp], utc=True)})
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[column for column in entities.columns if column != stamp],
            min_event_timestamp=entities[stamp].min(),
            max_event_timestamp=entities[stamp].max(),
        )

        def query() -> pa.Table:
            return join(config, feature_views, feature_refs, entities, stamp, full_feature_names)

        return AsofRetrievalJob(query, full_feature_names, on_demand, metadata)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The latest row of every key between two instants, both included."""

        def query() -> pa.Table:
            rows = read_source(config, data_source, start_date, end_date)
            keys, stamp = _columns(join_key_columns), _instant(timestamp_field)
            order = f"{stamp} desc" + (
                f", {_column(created_timestamp_column)} desc" if created_timestamp_column else ""
            )
            return _run(
                f"""select {_columns([*join_key_columns, *feature_name_columns, timestamp_field])} from rows
                where {stamp} between $from_at and $to_at
                qualify row_number() over (partition by {keys} order by {order}) = 1 order by {keys}""",
                {"rows": rows},
                {"from_at": _utc(start_date), "to_at": _utc(end_date)},
            )

        return AsofRetrievalJob(query)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row between two instants, both included."""
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        if created_timestamp_column:
            columns.append(created_timestamp_column)
        bounds = {"from_at": _utc(start_date or datetime.min), "to_at": _utc(end_date or datetime.max)}

        def query() -> pa.Table:
            rows = read_source(config, data_source, start_date, end_date)
            where = f"{_instant(timestamp_field)} between $from_at and $to_at"
            return _run(f"select {_columns(columns)} from rows where {where}", {"rows": rows}, bounds)

        return AsofRetrievalJob(query)

    def validate_data_source(self, config: RepoConfig, data_source: Any) -> None:
        """Declarations name sources relative to the store; whether files are there shows when they are read."""


def read_source(config: RepoConfig, source: Any, from_at: datetime | None, to_at: datetime | None) -> pa.Table:
    """The source's rows of every day that can hold a timestamp between two instants, with its field mapping applied.

    Raises:
        MissingData: if no partition of the source lies there.
    """
    layout = Layout(Store(config.offline_store.root), config.project)
    zone, _, name = str(source.path).partition("/")
    first = (_utc(from_at) - ZONE_SLACK).date() if from_at and from_at.year > 1 else None
    last = (_utc(to_at) + ZONE_SLACK).date() if to_at and to_at.year < 9999 else None
    days = [d for d in layout.days(zone, name) if (not first or d >= first) and (not last or d <= last)]
    single = layout.partition(zone, name, None)
    if days:
        rows = layout.store.read_tables(layout.partition(zone, name, day) for day in days)
    elif layout.store.exists(single):
        rows = layout.store.read_table(single)
    else:
        raise MissingData(f"{zone}/{name} holds nothing between {first} and {last}; build the features of those days")
    return rows.rename_columns([source.field_mapping.get(column, column) for column in rows.column_names])


def join(
    config: RepoConfig,
    views: Sequence[FeatureView],
    refs: Sequence[str],
    entities: pd.DataFrame,
    stamp: str,
    full_names: bool,
) -> pa.Table:
    """The entity rows, in their order, with the features of every view beside them."""
    tables: dict[str, Any] = {"entities": entities.assign(__row=range(len(entities)))}
    selected, joins = [f"entities.{_column(column)}" for column in entities.columns], []
    asked = f"entities.{_instant(stamp)}"
    for number, view in enumerate(views):
        source: Any = view.batch_source
        projection, ttl = view.projection, view.ttl or FOREVER
        oldest = entities[stamp].min() - ttl if ttl else None
        alias, at = f"v{number}", f"__at{number}"
        tables[alias] = read_source(config, source, oldest, entities[stamp].max())
        keys = projection.join_key_map or {key: key for key in view.join_keys}
        created = source.created_timestamp_column
        ties = f"{_column(created)} desc" if created else "1"
        # One row a key and instant, so that a tie has one answer: the row that was created last.
        rows = f"""(select *, {_instant(source.timestamp_field)} as {at} from {alias} qualify row_number() over (
            partition by {_columns(keys)}, {at} order by {ties}) = 1) as {alias}"""
        on = " and ".join(f"{alias}.{_column(key)} = entities.{_column(entity)}" for key, entity in keys.items())
        joins.append(f"asof left join {rows} on {on} and {alias}.{at} <= {asked}")
        fresh = f"{alias}.{at} >= {asked} - to_microseconds({ttl // timedelta(microseconds=1)})"
        for feature in _features(refs, projection.name_to_use()):
            value = f"{alias}.{_column(feature)}"
            name = f"{projection.name_to_use()}__{feature}" if full_names else feature
            selected.append(f"{f'case when {fresh} then {value} end' if ttl else value} as {_column(name)}")
    sql = f"select {', '.join(selected)} from entities {' '.join(joins)} order by entities.__row"
    return _run(sql, tables, {})


def _features(refs: Iterable[str], view: str) -> list[str]:
    return [ref.split(":", 1)[1] for ref in refs if ref.split(":", 1)[0] == view]


def _run(sql: str, tables: dict[str, Any], parameters: dict[str, Any]) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(sql, params=parameters).to_arrow_table()


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _instant(name: str) -> str:
    """A timestamp column in microseconds: pandas writes nanoseconds, which DuckDB will not compare with others."""
    return f"{_column(name)}::timestamptz"


def _columns(names: Iterable[str]) -> str:
    return ", ".join(map(_column, names))
