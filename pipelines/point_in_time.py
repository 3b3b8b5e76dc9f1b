"""The frames that models read: examples with their features as known at the instant of prediction."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.context import Context
from pipelines.declare.reading import of_requests, recipe_of, stored_features
from pipelines.errors import InvalidInput, MissingData
from pipelines.graph_inputs import number_column, string_column
from pipelines.instants import MICROSECOND
from pipelines.instants.arrow import INSTANT
from pipelines.offline.columns import to_frame
from pipelines.offline.ingredients import as_ingredient, read_elements, read_stored
from pipelines.request_columns import computed, from_frame, kinds_of
from pipelines.usecase import (
    DAY,
    EXAMPLE_ID,
    LABEL,
    LABEL_KNOWN_AT,
    PREDICTED_AT,
    ModelInputs,
    Tables,
    UseCase,
    auxiliary_of,
    calendar_of,
    known_at_of,
    looks_ahead_of,
)
from pipelines.windows import Window

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.periods import Calendar
    from pipelines.store import Layout


def read_tables(data: Layout, usecase: UseCase, names: set[str], window: Window) -> Tables:
    """Validated tables by name: the window's periods of daily tables, and whole reference tables."""
    return {
        table.name: data.read("validated", table.name, window)
        if table.daily
        else data.read_reference("validated", table.name)
        for table in usecase.tables
        if table.name in names
    }


def load_examples(
    context: Context, window: Window, known_by: datetime | None = None, ahead: timedelta | None = None
) -> pa.Table:
    """The examples of a window, from validated tables, with labels by what had happened at an instant.

    The tables reach beyond the window as far as labels look ahead, in whole periods, up to `seen_until`.

    Args:
        known_by: the end of the window by default.
        ahead: in place of what the use case declares.

    Raises:
        MissingData: if one of these periods is not validated.
    """
    usecase, calendar = context.usecase, window.calendar
    reach = looks_ahead_of(usecase) if ahead is None else ahead
    until = min(window.end_at + reach, _last_seen(known_by or window.end_at, usecase, calendar))
    period = calendar.containing(until)
    end = period if calendar.start_at(period) == until else calendar.after(period)
    read = window.between(window.start, max(window.end, end))
    names = {table.name for table in usecase.tables}
    examples = usecase.examples(read_tables(context.data, usecase, names, read), window)
    if not examples.num_rows:
        return examples
    (first, after), days = window.local_days, examples[DAY]
    inside = pc.and_(pc.greater_equal(days, pa.scalar(first)), pc.less(days, pa.scalar(after)))
    return examples.filter(inside)


def seen_until(context: Context, known_by: datetime) -> datetime:
    """The instant up to which records are read for labels that are asked for as of `known_by`.

    A label that stands in its example's own row is known with it. One that looks ahead needs whole periods, and no
    record comes after the source's end.
    """
    if not looks_ahead_of(context.usecase):
        return known_by
    return _last_seen(known_by, context.usecase, context.calendar)


def _last_seen(known_by: datetime, usecase: UseCase, calendar: Calendar) -> datetime:
    """The end of the last period that had ended by an instant, and that the source has."""
    ended = calendar.start_at(calendar.containing(known_by))
    return ended if usecase.end == date.max else min(ended, calendar.start_at(calendar.first_of(usecase.end)))


def matured(examples: pa.Table, maturity: timedelta, seen: datetime) -> pa.Table:
    """The examples that are so old that each of their labels is known: a label never counts before its maturity.

    If those counted that are known early, such as an order that came next day, while "no order in 30 days" takes its
    time, the youngest examples would all be of one class.

    Args:
        seen: the instant up to which records are read (`seen_until`).
    """
    due = pa.scalar(seen.astimezone(UTC) - maturity, INSTANT)
    return examples.filter(pc.less_equal(examples[PREDICTED_AT].cast(INSTANT), due))


def require_in_time(examples: pa.Table, usecase: UseCase) -> None:
    """Check that labels are known within their maturity: a later one would never count.

    One that is known at the very end of it is late, since it may arrive after a look at that instant.

    Raises:
        InvalidInput: naming the example whose label takes longest.
    """
    for label, column in ((LABEL, LABEL_KNOWN_AT), *((name, known_at_of(name)) for name in auxiliary_of(usecase))):
        if column not in examples.column_names:
            continue  # auxiliary, and refused where it is read
        known_at, at = (examples[name].cast(INSTANT).cast(pa.int64()) for name in (column, PREDICTED_AT))
        ages = pc.if_else(pc.is_valid(examples[label]), pc.subtract(known_at, at), None)
        oldest = pc.max(ages).as_py()
        if oldest is not None and oldest >= usecase.maturity // MICROSECOND:
            row = pc.index(ages, oldest).as_py()
            raise InvalidInput(
                f"the {label} of example {examples[EXAMPLE_ID][row]} is known {timedelta(microseconds=oldest)} after "
                f"its prediction, and not within the maturity of {usecase.maturity}; declare a longer maturity"
            )


def require_no_gap(data: Layout, usecase: UseCase, as_of: datetime) -> None:
    """Check that every daily feature table has each period from its first up to `as_of`.

    Raises:
        MissingData: naming the table and the first period that it lacks.
    """
    calendar = calendar_of(usecase)
    last = calendar.containing(as_of - MICROSECOND)
    for name in [table.name for table in usecase.feature_tables if table.daily]:
        periods = data.periods("features", name)
        lacking = set(calendar.between(min([last, *periods]), calendar.after(last))) - set(periods)
        if lacking:
            raise MissingData(
                f"features/{name} lacks {min(lacking)}, which is before {as_of}; build the features of that "
                f"{calendar.noun}"
            )


def feature_frame(context: Context, examples: pa.Table, service: str, inputs: ModelInputs) -> pd.DataFrame:
    """The examples with every input of a model, point-in-time correct.

    Request features are computed by the use case; stored ones are read through Feast as of each row's PREDICTED_AT;
    derived ones are computed from both. Numeric inputs are float32 with NaN for missing values, categorical ones have
    their graph's spelling, with None.

    Raises:
        InvalidInput: if the feature service is not registered, or a model input has no source, is not a number or has
            no spelling.
        MissingData: if features lack a day up to the last prediction: older values would replace it.
    """
    usecase, stored = context.usecase, stored_features(context.feast, service)
    recipe, plain = recipe_of(usecase, inputs.names, stored, service), of_requests(usecase, stored)
    if examples.num_rows:
        require_no_gap(context.data, usecase, pc.max(examples[PREDICTED_AT]).as_py() + MICROSECOND)
    rows = to_frame(examples)
    sent = from_frame(kinds_of(usecase), rows)
    features = computed(usecase, sent, len(rows))
    own = {**sent, **features}
    recipe.require(own)
    rows = rows.assign(**features)
    entities = rows.drop(columns=[column for column in rows.columns if column in plain])
    frame = read_stored(context.feast, [feature.ref for feature in plain.values()], entities)
    if recipe.steps:
        read = {feature.name: as_ingredient(frame[feature.name], feature) for feature in recipe.stored}
        read |= read_elements(context.feast, recipe, own, entities)
        made = recipe.compute({**own, **read}, len(rows))
        frame = frame.assign(**{name: values for name, values in made.items() if name in inputs.names})
    missing = [name for name in inputs.names if name not in frame.columns]
    if missing:
        raise InvalidInput(f"model inputs {missing} come neither from {service} nor from the request; declare them")
    numeric = {name: number_column(frame[name], name) for name in inputs.numeric}
    categorical = {name: string_column(frame[name], name, missing=None) for name in inputs.categorical}
    return frame.assign(**numeric, **categorical).replace({np.inf: np.nan, -np.inf: np.nan})
