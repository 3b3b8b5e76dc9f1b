"""Predictions joined with the labels that were known at an instant."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.errors import CorruptData, InvalidInput
from pipelines.instants.arrow import INSTANT
from pipelines.usecase import EXAMPLE_ID, LABEL, LABEL_KNOWN_AT, PREDICTED_AT

STATUSES = ("matured", "unmatured", "without_label")


def join_labels(predictions: pa.Table, examples: pa.Table, as_of: datetime, maturity: timedelta) -> pa.Table:
    """The predictions with LABEL, LABEL_KNOWN_AT (both null unless matured at `as_of`) and `status`.

    matured: the label exists and was known at `as_of`, when `maturity` had passed since the prediction, so that every
    label of that age was known. without_label: there is none although it had passed. unmatured: everything else.

    Raises:
        InvalidInput: if a prediction has no example.
        CorruptData: if an example or a prediction appears twice.
    """
    ids = pd.Index(examples[EXAMPLE_ID].to_pylist())
    prediction_ids = pd.Index(predictions[EXAMPLE_ID].to_pylist())
    for what, index in (("examples", ids), ("predictions", prediction_ids)):
        if not index.is_unique:
            twice = index[index.duplicated()]
            raise CorruptData(
                f"{len(twice)} {what} appear more than once (first: {twice[0]}); validate and score the window again"
            )
    at = ids.get_indexer(prediction_ids)
    unknown = prediction_ids[at < 0]
    if len(unknown):
        raise InvalidInput(
            f"{len(unknown)} predictions have no example in the window (first: {unknown[0]}); "
            "give the window that was scored"
        )
    label = examples[LABEL].to_pandas().to_numpy(dtype=np.float64)[at]
    known_at = _instants(examples, LABEL_KNOWN_AT).iloc[at].reset_index(drop=True)
    due = _instants(predictions, PREDICTED_AT) + maturity
    cutoff = pd.Timestamp(as_of).tz_convert("UTC")
    exists = ~np.isnan(label) & known_at.notna().to_numpy()
    is_due = (due <= cutoff).to_numpy()
    matured = exists & is_due & (known_at <= cutoff).to_numpy()
    without_label = ~exists & is_due
    status = np.select([matured, without_label], ["matured", "without_label"], "unmatured")
    outcomes = predictions.drop_columns([c for c in (LABEL, LABEL_KNOWN_AT) if c in predictions.column_names])
    outcomes = outcomes.append_column(LABEL, pa.array(label, pa.float64(), mask=~matured))
    instants = pa.array(known_at.where(matured), from_pandas=True).cast(INSTANT)
    return outcomes.append_column(LABEL_KNOWN_AT, instants).append_column("status", pa.array(status, pa.string()))


def maturity_counts(outcomes: pa.Table) -> dict[str, int]:
    """The number of rows by status; together they are all rows."""
    statuses = outcomes["status"].to_pylist()
    return {status: statuses.count(status) for status in STATUSES}


def _instants(table: pa.Table, column: str) -> pd.Series:
    instants: pd.Series = pd.to_datetime(table[column].cast(INSTANT).to_pandas(), utc=True)
    return instants
