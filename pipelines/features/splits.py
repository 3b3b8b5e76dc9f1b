"""Windows by time, and the labels that may be used in them."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import InvalidInput
from pipelines.params import Splits
from pipelines.usecase import LABEL, LABEL_KNOWN_AT, UseCase
from pipelines.windows import Window


def split_windows(as_of: datetime, usecase: UseCase, splits: Splits) -> dict[str, Window]:
    """Train, validation and test windows, counted back from the local day of `as_of`, an embargo between them.

    Raises:
        InvalidInput: if the embargo is shorter than the label's maturity, or no day is left for training.
    """
    if timedelta(splits.embargo_days) < usecase.maturity:
        raise InvalidInput(
            f"splits.embargo_days is {splits.embargo_days}, shorter than the label's maturity of {usecase.maturity}; "
            f"set it to at least {-(-usecase.maturity // timedelta(1))}"
        )
    end = as_of.astimezone(ZoneInfo(usecase.timezone)).date()
    embargo = timedelta(splits.embargo_days)
    test_start = end - timedelta(splits.test_days)
    validation_end = test_start - embargo
    validation_start = validation_end - timedelta(splits.validation_days)
    train_end = validation_start - embargo
    train_start = max(train_end - timedelta(splits.train_days), usecase.start)
    if train_start >= train_end or end > usecase.end:
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
    """The examples whose label was known at `as_of`.

    Raises:
        InvalidInput: if there is none.
    """
    known = pc.fill_null(pc.less_equal(examples[LABEL_KNOWN_AT], pa.scalar(as_of)), False)
    kept = examples.filter(pc.and_(known, pc.is_valid(examples[LABEL])))
    if not kept.num_rows:
        raise InvalidInput(f"the {name} window holds no label known at {as_of.isoformat()}; choose a later as_of")
    return kept
