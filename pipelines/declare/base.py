"""Defaults for most use cases, so that a new one declares only what is specific to it. Light to import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar

from pipelines.declare.derived import Derived
from pipelines.declare.events import Prepared
from pipelines.errors import InvalidInput, MissingData
from pipelines.usecase import Block, Columns, FeatureTable, ModelInputs, RawTable, Request, Tables, day_block

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from great_expectations.expectations.expectation import Expectation
    from pydantic import BaseModel

    from pipelines.windows import Window


class Base:
    """A use case whose features are declared and whose examples are one query; everything else has a default.

    A subclass sets `name`, `timezone`, `start`, `maturity`, `tables`, `feature_tables`, `model_inputs`, `request` and
    `examples_sql`, and overrides whatever else is specific to it (see `pipelines.usecase.UseCase`).

    Attributes:
        request: the model of one request; its fields are the `request_columns`.
        examples_sql: a query that gives the examples of the window: of the local days from $start up to $end, while the
            tables hold those that labels look ahead too.
        prepared: rows that the query reads besides the raw tables.
        split_on: the field of the request that stays with one model during a rollout.
    """

    name: str
    timezone: str
    start: date
    end: date = date.max
    tables: Sequence[RawTable]
    feature_tables: Sequence[FeatureTable]
    model_inputs: Mapping[str, ModelInputs]
    request: type[BaseModel]
    examples_sql: str
    prepared: Sequence[Prepared] = ()
    split_on: str
    derived: Sequence[Derived] = ()
    slices: Sequence[str] = ()
    request_keys: Sequence[str] = ()
    feature_repo: ClassVar[Path | None] = None

    def __init_subclass__(cls) -> None:
        fields = getattr(getattr(cls, "request", None), "model_fields", None)
        split_on = getattr(cls, "split_on", None)
        if fields is not None and split_on not in fields:
            raise InvalidInput(f"{cls.__name__}: split_on is {split_on!r}; choose from {', '.join(fields)}")

    @property
    def request_columns(self) -> Sequence[str]:
        return tuple(self.request.model_fields)

    def read(self, table: RawTable, window: Window) -> Iterable[pa.Table]:
        raise MissingData(f"{self.name} has no rows of its own; name the source of {table.name} in the params file")

    def expectations(self, table: RawTable) -> Sequence[Expectation]:
        """Rows without a key are quarantined."""
        import great_expectations.expectations as gxe

        meta = {"severity": "quarantine", "reason": "no_key"}
        return [gxe.ExpectColumnValuesToNotBeNull(column=column, meta=meta) for column in table.key]

    def build(self, feature_table: FeatureTable, tables: Tables, window: Window) -> pa.Table:
        raise NotImplementedError(f"{feature_table.name} is not declared; declare it, or build it here")

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        from pipelines.declare.rows import query

        return query(self.examples_sql, tables, window, self.prepared)

    def request_features(self, columns: Columns) -> Columns:
        return {}

    def request_model(self) -> type[BaseModel]:
        return self.request

    def split_key(self, request: Request) -> str:
        return str(request[self.split_on])

    def block(self, request: Request, at: datetime) -> Block | None:
        """The local day of the prediction."""
        return day_block(at, self.timezone)
