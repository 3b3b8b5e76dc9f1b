"""Predictions as a table: the model's inputs and its scores, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CheckFailed
from pipelines.instants.arrow import INSTANT
from pipelines.usecase import DAY, EXAMPLE_ID, PREDICTED_AT, ModelInputs

SCORE = "score"
MODEL_VERSION = "model_version"


def due_by(examples: pa.Table, as_of: datetime) -> pa.Table:
    """The examples whose prediction was due by `as_of`."""
    return examples.filter(pc.less_equal(examples[PREDICTED_AT].cast(INSTANT), pa.scalar(as_of, INSTANT)))


def prediction_table(
    examples: pa.Table,
    frame: pd.DataFrame,
    scores: npt.ArrayLike,
    inputs: ModelInputs,
    model_version: str,
    further: Mapping[str, npt.ArrayLike] = MappingProxyType({}),
) -> pa.Table:
    """One row for each example, in order of PREDICTED_AT and EXAMPLE_ID.

    Args:
        examples: the examples of the window.
        frame: the features of each example, in any order.
        scores: (N,) probabilities of the rows of `frame`.
        further: of the same rows, further outputs by the names of their columns.

    Raises:
        CheckFailed: if an example is missing in `frame` or there twice, or a score is not in [0, 1].
    """
    if sorted(examples[EXAMPLE_ID].to_pylist()) != sorted(frame[EXAMPLE_ID].tolist()):
        raise CheckFailed(
            f"{examples.num_rows} examples became {len(frame)} feature rows with other {EXAMPLE_ID}s; "
            "look for duplicate keys in the feature tables"
        )
    score = np.asarray(scores, dtype=np.float64)
    if score.shape != (len(frame),):
        raise CheckFailed(f"the model gave scores of shape {score.shape} for {len(frame)} rows; it must give one a row")
    bad = int((~((score >= 0) & (score <= 1))).sum())
    if bad:
        raise CheckFailed(
            f"{bad} of {len(score)} scores are not probabilities (NaN or outside 0 to 1); check its inputs"
        )
    columns: Mapping[str, pa.Array] = {
        EXAMPLE_ID: pa.array(frame[EXAMPLE_ID].tolist(), examples.schema.field(EXAMPLE_ID).type),
        PREDICTED_AT: pa.array(frame[PREDICTED_AT], from_pandas=True).cast(INSTANT),
        DAY: pa.array(pd.to_datetime(frame[DAY]).dt.date, pa.date32()),
        **{name: pa.array(frame[name].to_numpy(np.float32)) for name in inputs.numeric},
        **{name: pa.array(frame[name], pa.string(), from_pandas=True) for name in inputs.categorical},
        SCORE: pa.array(score),
        **{name: pa.array(np.asarray(values, dtype=np.float64)) for name, values in further.items()},
        MODEL_VERSION: pa.array([model_version] * len(frame), pa.string()),
    }
    return pa.table(columns).sort_by([(PREDICTED_AT, "ascending"), (EXAMPLE_ID, "ascending")])
