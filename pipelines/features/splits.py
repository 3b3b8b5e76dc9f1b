"""Training, validation and test windows, and the labels that may be used in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import InvalidInput
from pipelines.instants import local_day
from pipelines.params import Splits
from pipelines.usecase import LABEL, LABEL_KNOWN_AT, UseCase, known_at_of
from pipelines.windows import Window


def split_windows(as_of: datetime, usecase: UseCase, splits: Splits) -> dict[str, Window]:
    """Train, validation and test windows of whole days, counted back from the local day of `as_of`, an embargo between.

    Raises:
        InvalidInput: if no day is left for training, or `as_of` lies after the source.
    """
    end = local_day(as_of, usecase.timezone)
    embargo = timedelta(splits.embargo_days)
    test_start = end - timedelta(splits.test_days)
    validation_end = test_start - embargo
    validation_start = validation_end - timedelta(splits.validation_days)
    train_end = validation_start - embargo
    train_start = max(train_end - timedelta(splits.train_days), usecase.start)
    if end > usecase.end:
        raise InvalidInput(f"as_of {end} lies after the end of the source, {usecase.end}; choose an earlier one")
    if train_start >= train_end:
        raise InvalidInput(
            f"as of {end} no training window is left: training would end on {train_end}, the data cover "
            f"{usecase.start} to {usecase.end}; choose another as_of or shorten validation_days and test_days"
        )
    return {
        "train": Window(train_start, train_end, usecase.timezone),
        "validation": Window(validation_start, validation_end, usecase.timezone),
        "test": Window(test_start, end, usecase.timezone),
    }


def keep_labelled(examples: pa.Table, as_of: datetime, name: str) -> pa.Table:
    """The examples that have a label which was known at `as_of`.

    Raises:
        InvalidInput: if there is none.
    """
    labelled = examples.filter(_is_known(examples, LABEL, LABEL_KNOWN_AT, as_of))
    if not labelled.num_rows:
        raise InvalidInput(
            f"the {name} window holds no example with a label that had matured by {as_of.isoformat()}; choose another "
            "as_of, or look at what `examples` gives as labels"
        )
    return labelled


def mask_auxiliary(examples: pa.Table, as_of: datetime, auxiliary: Sequence[str]) -> pa.Table:
    """The examples with their auxiliary labels as known at `as_of`: null where a label was not known yet.

    Raises:
        InvalidInput: if the examples lack an auxiliary label that the use case declares.
    """
    for name in auxiliary:
        if lacking := {name, known_at_of(name)} - set(examples.column_names):
            raise InvalidInput(
                f"the examples lack {', '.join(sorted(lacking))}, needed by an auxiliary label; add them"
            )
        is_known = _is_known(examples, name, known_at_of(name), as_of)
        values = pc.if_else(is_known, examples[name], pa.scalar(None, examples.schema.field(name).type))
        examples = examples.drop_columns([known_at_of(name)])
        examples = examples.set_column(examples.column_names.index(name), name, values)
    return examples


def keep_auxiliary(examples: pa.Table, as_of: datetime, auxiliary: Sequence[str]) -> pa.Table:
    """The examples that `keep_labelled` drops and that have some auxiliary label, with LABEL null.

    Args:
        examples: as `mask_auxiliary` returns them.
    """
    some = pa.scalar(False)
    for name in auxiliary:
        some = pc.or_(some, pc.is_valid(examples[name]))
    others = examples.filter(pc.and_(pc.invert(_is_known(examples, LABEL, LABEL_KNOWN_AT, as_of)), some))
    for name in (LABEL, LABEL_KNOWN_AT):
        field = others.schema.field(name)
        others = others.set_column(others.column_names.index(name), field, pa.nulls(others.num_rows, field.type))
    return others


def _is_known(examples: pa.Table, label: str, known_at: str, as_of: datetime) -> pa.Array:
    """Whether each example has a label that was known at `as_of`."""
    in_time = pc.fill_null(pc.less_equal(examples[known_at], pa.scalar(as_of.astimezone(UTC))), False)
    return pc.and_(in_time, pc.is_valid(examples[label]))
