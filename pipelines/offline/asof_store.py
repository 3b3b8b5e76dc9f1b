"""A Feast offline store on point-in-time joins in DuckDB. Feast finds it by its path in `offline_store.type`.

Feast imports this module for online reads too, so it imports only what Feast itself has imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from pipelines.errors import InvalidInput
from pipelines.instants import micros
from pipelines.instants.arrow import INSTANT
from pipelines.offline.asof_join import ViewJoin, join
from pipelines.offline.columns import to_frame
from pipelines.offline.reading import AT, CREATED, connect, explain_errors, latest_rows
from pipelines.offline.sources import FeatureSource, files_between, layout_of
from pipelines.quoting import parquet, quoted


class AsofOfflineStoreConfig(FeastConfigBaseModel):
    """Settings in feature_store.yaml: the root of the store, and the length of its periods in minutes."""

    type: Literal["pipelines.offline.asof_store.AsofOfflineStore"] = "pipelines.offline.asof_store.AsofOfflineStore"
    root: str
    period: int = 24 * 60


class AsofRetrievalJob(RetrievalJob):
    """A query that runs when its result is needed.

    Args:
        query: returns the columns of the result, without those of `entities`; one row for each entity row.
        entities: the entity rows, whose columns come first in the result.
    """

    def __init__(
        self,
        query: Callable[[], pa.Table],
        entities: pd.DataFrame | None = None,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._query = query
        self._entities = entities
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> pd.DataFrame:
        """The result as pandas; the entity rows' columns are unchanged unless on-demand features derive from them."""
        if self._entities is None or self._on_demand or validation_reference:
            frame: pd.DataFrame = super().to_df(validation_reference, timeout)
            return frame
        return self._to_df_internal(timeout)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        table = self._query()
        if self._entities is None:
            return table
        try:
            entities = pa.Table.from_pandas(self._entities, preserve_index=False)
        except pa.ArrowException as error:
            raise InvalidInput(f"entity rows: {error}; give the column one type, or leave it out") from None
        return pa.Table.from_arrays(
            [*entities.columns, *table.columns], names=[*entities.column_names, *table.column_names]
        )

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        table = self._query()
        if self._entities is None:
            return to_frame(table)
        columns = {name: self._entities[name] for name in self._entities}
        columns |= dict(to_frame(table, split_blocks=True).items())
        return pd.DataFrame(columns, copy=False)

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
    """Point-in-time joins and latest rows; both read only the days that can matter."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        """For every entity row, in order, the latest values known at its timestamp and not older than the ttl.

        Args:
            entity_df: a frame, or DuckDB SQL, which may read any Parquet file in reach. The instant is the column
                `event_timestamp`, or else the only timestamp; timestamps without a zone are in UTC.

        Raises:
            InvalidInput: if a key is not among its columns, or a feature has the name of one of them.
            MissingData: if the features of the days that matter are not built.
        """
        if entity_df is None:
            raise InvalidInput("entity_df is missing: this store needs entity rows; give a frame or SQL")
        rows = _run_query(config, entity_df) if isinstance(entity_df, str) else entity_df
        stamp = infer_event_timestamp_from_entity_df(dict(rows.dtypes))
        entities = rows.copy(deep=False)
        entities.index = pd.RangeIndex(len(rows))
        entities[stamp] = instants = _utc(entities[stamp])
        views = [ViewJoin.of(view, feature_refs, full_feature_names) for view in feature_views]
        _require_columns(entities, views)

        def query() -> pa.Table:
            keys = {column for view in views for _, column in view.keys}
            as_of = pa.array(instants if instants.dt.unit == "us" else instants.dt.floor("us").dt.as_unit("us"))

            def lines() -> pa.Table:
                return pa.table({key: _encode(pa.array(entities[key], from_pandas=True)) for key in sorted(keys)})

            return pa.table(join(config, views, lines, as_of.cast(pa.int64()), filter_by_created_timestamp))

        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[column for column in entities.columns if column != stamp],
            min_event_timestamp=instants.min(),
            max_event_timestamp=instants.max(),
        )
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return AsofRetrievalJob(query, entities, full_feature_names, on_demand, metadata)

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
        """The latest row of every entity between two instants, both included. Names are the columns of the files."""
        source = FeatureSource(str(data_source.path), {}, timestamp_field, created_timestamp_column or None)

        def query() -> pa.Table:
            rows = latest_rows(config, source, join_key_columns, feature_name_columns, start_date, end_date)
            times = {timestamp_field: AT} | ({created_timestamp_column: CREATED} if created_timestamp_column else {})
            for name, column in times.items():
                rows = rows.append_column(name, rows[column].cast(INSTANT))
            if not join_key_columns:
                rows = rows.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * len(rows), pa.string()))
            return rows.drop_columns([AT, CREATED])

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
        """All rows between two instants, both included, in the order of the store. Names are those in the files."""
        source = FeatureSource(str(data_source.path), {}, timestamp_field, created_timestamp_column or None)
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        columns += [created_timestamp_column] if created_timestamp_column else []
        bounds = [f"{source.at()} >= {micros(start_date)}"] if start_date else []
        bounds += [f"{source.at()} <= {micros(end_date)}"] if end_date else []

        def query() -> pa.Table:
            data = layout_of(config)
            rows = parquet(files_between(data, source, start_date, end_date))
            dummy = "" if join_key_columns else f", '{DUMMY_ENTITY_VAL}' as {quoted(DUMMY_ENTITY_ID)}"
            names = ", ".join(map(quoted, dict.fromkeys(columns)))
            with explain_errors(source), connect(data) as connection:
                sql = f"select {names}{dummy} from {rows} where {' and '.join(bounds) or 'true'}"
                return connection.sql(sql).to_arrow_table()

        return AsofRetrievalJob(query)

    def validate_data_source(self, config: RepoConfig, data_source: Any) -> None:
        """Do nothing: declarations name sources relative to the store, and missing files are reported when read."""


def _encode(values: pa.Array) -> pa.Array:
    """Texts as a dictionary, since several views look up the same ones."""
    return values.dictionary_encode() if pa.types.is_string(values.type) else values


def _run_query(config: RepoConfig, sql: str) -> pd.DataFrame:
    """The rows of a query.

    Raises:
        InvalidInput: if DuckDB refuses it.
    """
    import duckdb

    try:
        with connect(layout_of(config)) as connection:
            frame: pd.DataFrame = connection.sql(sql).to_arrow_table().to_pandas()
    except duckdb.Error as error:
        raise InvalidInput(f"entity_df: {error}; correct the SQL") from None
    return frame


def _utc(stamps: pd.Series[Any]) -> pd.Series[Any]:
    aware = isinstance(stamps.dtype, pd.DatetimeTZDtype)
    instants: pd.Series[Any] = stamps.dt.tz_convert("UTC") if aware else pd.to_datetime(stamps, utc=True)
    return instants


def _require_columns(entities: pd.DataFrame, views: Sequence[ViewJoin]) -> None:
    lacking = sorted({column for view in views for _, column in view.keys} - set(entities.columns))
    if lacking:
        raise InvalidInput(f"entity rows lack the keys {lacking}; add them")
    twice = sorted({name for view in views for _, name in view.features} & set(entities.columns))
    if twice:
        raise InvalidInput(f"entity rows have columns named as features: {twice}; leave them out or ask for full names")
