"""What a team declares to put its own table into the chain: the `UseCase` protocol and the small values it speaks in.

This module and every use case's package stay light to import: the DAG files read them at parse time. Whatever needs a
data library is imported inside the methods.
"""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.errors import FlightdeckError, InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from great_expectations.expectations.expectation import Expectation
    from pydantic import BaseModel

    from pipelines.windows import Window

Tables = Mapping[str, "pa.Table"]
Request = Mapping[str, Any]  # column -> value, as JSON has it

# Columns that the chain itself adds or reads. A use case's own columns may have any other names.
KNOWN_AT = "known_at"  # in feature tables: the instant (UTC) from which the row could have been known
EXAMPLE_ID = "example_id"  # in examples: unique, stable
PREDICTED_AT = "predicted_at"  # in examples: the instant (UTC) for which features are read
DAY = "local_day"  # in examples and daily raw tables: the local day (date32); losses within one are dependent
LABEL = "label"  # in examples: 0.0, 1.0, or null where there never is one
LABEL_KNOWN_AT = "label_known_at"  # in examples: the instant (UTC) at which the label matures, null as above
MONTH = "month"  # in evaluations: the month of DAY


@dataclass(frozen=True)
class RawTable:
    """A table of the source.

    Attributes:
        key: columns that identify a row; DAY may be one of them.
        columns: declared columns and their types, such as int32, float64, string or timestamp[us, UTC].
        day: the column, an instant or a date, whose local day is the row's partition; None for a reference table, which
            is a single partition and changes rarely.
        known: the column, an instant, from which a record is known as it stands: of two with one key the newer counts.
        required: whether a window without a single row stops the chain, or is only reported.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str] = field(hash=False)
    day: str | None = None
    known: str | None = None
    required: bool = True

    @property
    def daily(self) -> bool:
        """Whether it has one partition a local day."""
        return self.day is not None


@dataclass(frozen=True)
class FeatureTable:
    """A feature table, built from validated tables and declared to Feast under the same name.

    Attributes:
        keys: entity columns.
        sources: raw tables it is built from.
        lookback_days: days before a window whose rows can still bear on features known within it.
        daily: one partition for each local day of `KNOWN_AT`, or (False) a single one, built anew with every window.
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
    """One table's worth of knowledge. Everything else in `pipelines` is written against this.

    A use case may also have `auxiliary`, a tuple of columns of its examples: further labels for families that learn
    several tasks, each 0.0, 1.0 or null, with the instant at which it is known in `known_at_of(NAME)`. They may be
    known of examples that never get a LABEL.
    """

    @property
    def name(self) -> str:
        """Lower-case identifier; carried by DAG ids, the registered model, the Feast project and every table."""

    @property
    def timezone(self) -> str:
        """IANA zone whose days are the partitions."""

    @property
    def start(self) -> date:
        """First day of the source."""

    @property
    def end(self) -> date:
        """Day after the last day of the source; `date.max` for one that goes on."""

    @property
    def maturity(self) -> timedelta:
        """After this long, a label that exists is known (the embargo between windows is at least this)."""

    @property
    def feature_repo(self) -> Path:
        """Folder of Feast declarations (only those: every .py in it is executed)."""

    @property
    def tables(self) -> Sequence[RawTable]: ...

    @property
    def feature_tables(self) -> Sequence[FeatureTable]: ...

    @property
    def model_inputs(self) -> Mapping[str, ModelInputs]:
        """By the name of the feature service that a model is trained on.

        Models record their service and their inputs. So a service that models were trained on stays as it is, and what
        is new comes with a new one.
        """

    @property
    def slices(self) -> Sequence[str]:
        """Columns of the examples by which evaluation is broken down; `slices_of` adds to them."""

    def read(self, table: RawTable, window: Window) -> Iterable[pa.Table]:
        """Rows that come with the use case (`source: {kind: bundled}`), in pieces; other days may be among them.

        Raises MissingData or CorruptData; also where nothing comes with it.
        """

    def expectations(self, table: RawTable) -> Sequence[Expectation]:
        """Great Expectations of a table; see `pipelines.validation` for the severities."""

    def build(self, feature_table: FeatureTable, tables: Tables, window: Window) -> pa.Table:
        """Feature rows with `KNOWN_AT` in the window.

        A row's value may rest only on records known at `KNOWN_AT` that belong to its own or an earlier local day, so
        that it is the same whether its day is built alone or in a longer window.
        """

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        """What is to be predicted: EXAMPLE_ID, PREDICTED_AT, DAY, keys, request columns, LABEL, LABEL_KNOWN_AT."""

    def request_features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Features computed from the request alone: one function for training and serving. Adds columns, row by row.

        Among them are the `request_keys`, which are read before stored features are.
        """

    @property
    def request_keys(self) -> Sequence[str]:
        """Entity keys that `request_features` works out, such as an hour of the day; none is ever missing."""

    @property
    def request_columns(self) -> Sequence[str]:
        """The columns of the examples that a client sends: entity keys and whatever `request_features` reads."""

    def request_model(self) -> type[BaseModel]:
        """The model of one request, with the fields of `request_columns`.

        What it accepts, `request_features` must be able to work on: bound strings, numbers and instants. The server
        makes it strict and refuses unknown keys, NaN and infinity; it keeps the names `id` and `requests` for itself.
        A category of which no prediction can be made is refused here, in words that name what is known.
        """

    def split_key(self, request: Request) -> str:
        """What the traffic split is sticky on, 1 to 128 characters; `request` holds the values of a `request_model`."""

    def block(self, request: Request) -> date:
        """The dependence block, in which losses are not independent: the DAY of the example that is asked about."""


def inputs_of(usecase: UseCase, service: str) -> ModelInputs:
    """What a model trained on a feature service reads.

    Raises:
        InvalidInput: if the use case declares nothing for it.
    """
    try:
        return usecase.model_inputs[service]
    except KeyError:
        known = ", ".join(usecase.model_inputs)
        raise InvalidInput(
            f"{usecase.name} declares no model_inputs for the feature service {service!r}; choose from {known}"
        ) from None


def slices_of(usecase: UseCase) -> tuple[str, ...]:
    """The columns by which every evaluation is broken down: those that the use case declares, and MONTH."""
    return tuple(dict.fromkeys((*usecase.slices, MONTH)))


def auxiliary_of(usecase: UseCase) -> tuple[str, ...]:
    """The auxiliary labels that a use case declares; none by default."""
    return tuple(getattr(usecase, "auxiliary", ()))


def known_at_of(auxiliary: str) -> str:
    """The column of the examples with the instant (UTC) at which an auxiliary label is known."""
    return f"{auxiliary}_known_at"


def load_usecase(path: str) -> UseCase:
    """The use case that the module `path` exports as `USECASE`.

    Raises:
        InvalidInput: if there is no such module or export, or whatever the module raises when it is imported.
    """
    try:
        usecase: Any = importlib.import_module(path).USECASE
    except (Exception, SystemExit) as error:  # it is a person's code: an exit of its own must not be ours
        raise InvalidInput(
            f"usecase: {path!r} cannot be loaded ({in_one_line(error)}); correct it, or name another "
            "module that exports USECASE"
        ) from error
    return usecase  # type: ignore[no-any-return]


def in_one_line(error: BaseException) -> str:
    """An error in one line: its kind, what it says, and the line that raised it, of libraries the line that called."""
    said = " ".join(str(error).split())[:500]
    if isinstance(error, FlightdeckError):
        return said
    libraries = (*map(sysconfig.get_path, ("stdlib", "purelib")), "<", __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(libraries)]
    where = "".join(f" at {frame.filename}:{frame.lineno}" for frame in frames[-1:])
    return f"{type(error).__name__}{f': {said}' if said else ''}{where}"
