"""What a team declares to run the chain on its own table: the `UseCase` protocol and its value types.

This module and every use case's package are light to import, since the DAG files import them at parse time. Data
libraries are imported inside the methods.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.day_blocks import Block as Block  # noqa: PLC0414 - exported
from pipelines.day_blocks import day_block as day_block  # noqa: PLC0414 - exported
from pipelines.errors import InvalidInput
from pipelines.periods import A_DAY, Calendar

if TYPE_CHECKING:
    import pyarrow as pa
    from great_expectations.expectations.expectation import Expectation
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from pipelines.windows import Window

Tables = Mapping[str, "pa.Table"]
Request = Mapping[str, Any]  # column -> value
Columns = Mapping[str, "NDArray[Any]"]  # name -> (N,), a value for each request

INSTANT = re.compile(r"timestamp\[(s|ms|us|ns), ?([^\]]+)\]")  # a column type, with its unit and its zone

# Columns that the chain itself adds or reads. A use case's own columns may have any other names.
KNOWN_AT = "known_at"  # in feature tables: the row's knowledge time, an instant in UTC
EXAMPLE_ID = "example_id"  # in examples: unique, stable
PREDICTED_AT = "predicted_at"  # in examples: the instant (UTC) for which features are read
PERIOD = "period"  # in raw tables whose periods are no days, in place of DAY: the instant (UTC) at which it begins
DAY = "local_day"  # in examples and daily raw tables: the local day (date32)
BLOCK = "block"  # in examples, optional: the name of the dependence block, or null for a row that depends on no other
LABEL = "label"  # in examples: 0.0, 1.0, or null for examples that never get one
LABEL_KNOWN_AT = "label_known_at"  # in examples: the instant (UTC) at which the label matures, null as above
MONTH = "month"  # in evaluations: the month of DAY


@dataclass(frozen=True)
class RawTable:
    """A table of the source.

    Attributes:
        key: columns that identify a row; DAY may be one of them.
        columns: declared columns and their types, such as int32, float64, string or timestamp[us, UTC].
        day: the column, an instant or a date, whose local day (or shorter period) is the row's partition; None for a
            reference table, which is a single partition and changes rarely.
        known: the column with a record's knowledge time, an instant: of two records of a key the newer counts.
        required: whether a partition without rows stops the chain, or is only reported.
        days_a_week: of any 7 local days so many have rows, where closed days are not known ahead; fewer stop the chain.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str] = field(hash=False)
    day: str | None = None
    known: str | None = None
    required: bool = True
    days_a_week: int = 7

    @property
    def daily(self) -> bool:
        """Whether it has one partition for each period, a local day by default."""
        return self.day is not None


@dataclass(frozen=True)
class FeatureTable:
    """A feature table, built from validated tables and declared to Feast under the same name.

    Attributes:
        keys: entity columns.
        sources: the raw tables it is built from.
        lookback_days: days before a window whose rows can affect features known within it.
        daily: one partition for each period of `KNOWN_AT`, a local day by default, or (False) a single one, rebuilt
            with every window.
    """

    name: str
    keys: tuple[str, ...]
    sources: tuple[str, ...]
    lookback_days: int = 0
    daily: bool = True


@dataclass(frozen=True)
class ModelInputs:
    """The columns a model reads, in order. Numeric columns are float32, categorical ones are strings."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.numeric + self.categorical


class UseCase(Protocol):
    """All that the chain needs to know about one problem. Everything else in `pipelines` uses this protocol.

    A use case may also have `auxiliary`, a tuple of columns of its examples: further labels for families that learn
    several tasks, each 0.0, 1.0 or null, with the instant at which it is known in the column `known_at_of(NAME)`.
    Examples that never get a LABEL may have them.

    It may have `loss`, by which rollouts compare versions (of pipelines.losses; the Brier score by default);
    `looks_ahead`, a timedelta: how long after its prediction a label reads records (`maturity` by default, never
    longer; 0 where the label stands in the example's own row); `influences_labels`, true where predictions do, so that
    no rollout can; `closed`, a `pipelines.closed.Closed`; `derived`, of `pipelines.declare`; `period`, a timedelta that
    divides a day into whole minutes: the length of windows and partitions (a day; `start`, `end` stay days). For `check
    --contract` alone: `as_known(tables, instant) -> Tables`, the raw tables as they stood at an instant (UTC), null for
    what was still to happen, and `outcomes`, by raw table the columns that only the future tells.
    """

    @property
    def name(self) -> str:
        """Lower-case identifier, part of DAG ids, the registered model, the Feast project and every table."""

    @property
    def timezone(self) -> str:
        """IANA zone whose days, or their periods, are the partitions."""

    @property
    def start(self) -> date:
        """First day of the source."""

    @property
    def end(self) -> date:
        """Day after the last day of the source; `date.max` for one that goes on."""

    @property
    def maturity(self) -> timedelta:
        """The delay after which every label is known; the embargo between windows is at least as long."""

    @property
    def feature_repo(self) -> Path | None:
        """Folder of Feast declarations (every .py in it is executed); None: all follow from declared feature tables."""

    @property
    def tables(self) -> Sequence[RawTable]: ...

    @property
    def feature_tables(self) -> Sequence[FeatureTable]: ...

    @property
    def model_inputs(self) -> Mapping[str, ModelInputs]:
        """The inputs of a model, by the feature service that it is trained on.

        Models record their service and their inputs. So a service that models were trained on must not change; new
        inputs need a new service.
        """

    @property
    def slices(self) -> Sequence[str]:
        """Columns of the examples that define the slices of an evaluation; `slices_of` adds to them."""

    def read(self, table: RawTable, window: Window) -> Iterable[pa.Table]:
        """Rows that ship with the use case (`source: {kind: bundled}`), in pieces, which may contain other days.

        Raises MissingData or CorruptData, also if the use case has no data of its own.
        """

    def expectations(self, table: RawTable) -> Sequence[Expectation]:
        """Great Expectations of a table; see `pipelines.validation` for the severities."""

    def build(self, feature_table: FeatureTable, tables: Tables, window: Window) -> pa.Table:
        """Rows, with `KNOWN_AT` in the window, of a table that is not declared; called for no other.

        The window's `start` and `end` are dates where periods are days.

        A row may depend only on records known at `KNOWN_AT` that belong to its own or an earlier period, so that it is
        the same in any window.
        """

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        """The window's examples: EXAMPLE_ID, PREDICTED_AT, DAY, keys, request columns, LABEL, LABEL_KNOWN_AT.

        The tables hold later periods too, as far as labels look ahead (`looks_ahead`) and had ended by the instant of
        knowledge. LABEL_KNOWN_AT is less than `maturity` after PREDICTED_AT. What is given as LABEL of an example
        whose maturity has not passed is not used.

        Where the blocks of `block` are not the days, BLOCK has their names, null where `block` gives None.
        """

    def request_features(self, columns: Columns) -> Columns:
        """The features computed from the request alone, row by row: one function for training and serving.

        Args:
            columns: PREDICTED_AT and the `request_columns`, (N,) each, of the types that `request_model` declares:
                instants as datetime64[us] in UTC, int and float as float64, all else as objects; missing values are
                NaT, NaN and None.

        Returns:
            By name, (N,) each: numbers, or text as objects. Among them are the `request_keys`, as the online store has
            them, which are needed to read stored features.
        """

    @property
    def request_keys(self) -> Sequence[str]:
        """Entity keys that `request_features` computes, such as an hour of the day; they are never missing."""

    @property
    def request_columns(self) -> Sequence[str]:
        """The columns of the examples that a client sends: entity keys and the inputs of `request_features`."""

    def request_model(self) -> type[BaseModel]:
        """The model of one request, with the fields of `request_columns`.

        `request_features` must handle every value that it accepts: bound strings, numbers and instants. The server
        makes it strict and refuses unknown keys, NaN and infinity; the names `id` and `requests` are reserved. A
        category without predictions is refused here, with a message that lists the known ones.
        """

    def split_key(self, request: Request) -> str:
        """The key of the sticky traffic split, 1 to 128 characters; `request` holds the values of a `request_model`."""

    def block(self, request: Request, at: datetime) -> Block | None:
        """The dependence block of a request that is predicted at `at`; None: it is independent of every other one.

        Its name is the BLOCK of the request's example, or the ISO date of its DAY where the examples have no BLOCK. A
        block may have closed before `at`: such a late request is answered, and is no evidence of its block.
        """


def inputs_of(usecase: UseCase, service: str) -> ModelInputs:
    """The inputs of a model trained on a feature service; raises InvalidInput if the use case declares none for it."""
    if service in usecase.model_inputs:
        return usecase.model_inputs[service]
    raise InvalidInput(
        f"{usecase.name} declares no model_inputs for the feature service {service!r}; choose from "
        f"{', '.join(usecase.model_inputs)}"
    )


def slices_of(usecase: UseCase) -> tuple[str, ...]:
    """The columns that define the slices of every evaluation: those that the use case declares, and MONTH."""
    return tuple(dict.fromkeys((*usecase.slices, MONTH)))


def auxiliary_of(usecase: UseCase) -> tuple[str, ...]:
    """The auxiliary labels that a use case declares; none by default."""
    return tuple(getattr(usecase, "auxiliary", ()))


def looks_ahead_of(usecase: UseCase) -> timedelta:
    """How long after its prediction a label reads records; the whole maturity by default."""
    return getattr(usecase, "looks_ahead", usecase.maturity)


def calendar_of(usecase: UseCase) -> Calendar:
    """The periods by which a use case's data are partitioned; local days by default.

    Raises:
        InvalidInput: if the length does not divide a day, or a table's column cannot tell the period of a row.
    """
    calendar = Calendar(usecase.timezone, getattr(usecase, "period", A_DAY))
    if not calendar.daily:
        for table in usecase.tables:
            kind = table.columns.get(table.day, "") if table.day else None
            if kind is not None and not INSTANT.fullmatch(kind):
                raise InvalidInput(
                    f"table {table.name}: its column {table.day} is declared as {kind}, which does not tell the period "
                    f"of {calendar.length} in which a row lies; declare an instant, timestamp[us, UTC]"
                )
    return calendar


def partition_column(calendar: Calendar) -> str:
    """The column that holds the partition of a row in tables that have several."""
    return DAY if calendar.daily else PERIOD


def known_at_of(auxiliary: str) -> str:
    """The column of the examples with the instant (UTC) at which an auxiliary label is known."""
    return f"{auxiliary}_known_at"
