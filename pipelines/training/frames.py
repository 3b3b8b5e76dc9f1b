"""Frames of a training set, read back as they were written."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import CorruptData, InvalidInput
from pipelines.manifest import MANIFEST
from pipelines.scorer import model_arrays
from pipelines.store import Store
from pipelines.training.tasks import Frames
from pipelines.usecase import LABEL, ModelInputs


def model_inputs(manifest: Mapping[str, Any]) -> ModelInputs:
    declared = manifest["model_inputs"]
    return ModelInputs(tuple(declared["numeric"]), tuple(declared["categorical"]))


def numeric_inputs(frame: pd.DataFrame, inputs: ModelInputs) -> NDArray[np.float32]:
    """(N, n), NaN for missing; raises InvalidInput as `model_arrays`."""
    return model_arrays(frame, inputs.numeric, ())[0]


def read_frame(store: Store, training_set_uri: str, name: str, manifest: Mapping[str, Any]) -> pd.DataFrame:
    """One of train, validation and test.

    Raises:
        CorruptData: if the file is not the one that the manifest names.
        InvalidInput: if it has no row, labels other than 0 and 1, or a category that is no text: it is of a version
            that did not settle how categories are spelt.
    """
    frame = _read(store, training_set_uri, name, manifest)
    uri = f"{training_set_uri.rstrip('/')}/{name}.parquet"
    if not len(frame):
        raise InvalidInput(f"{uri} has no row; widen the window of {name}, or move as_of")
    if not frame[LABEL].isin([0.0, 1.0]).all():
        raise InvalidInput(
            f"{uri} has labels other than 0 and 1 in {LABEL!r}; only known labels belong in a training set"
        )
    return frame


def read_frames(store: Store, training_set_uri: str, manifest: Mapping[str, Any], auxiliary: bool) -> Frames:
    """What a family is fitted on and judged by.

    Args:
        auxiliary: whether the family reads auxiliary labels, and rows of which only these are known.

    Raises:
        CorruptData, InvalidInput: as `read_frame`.
        InvalidInput: if every training label is the same.
    """
    train, validation = (read_frame(store, training_set_uri, name, manifest) for name in ("train", "validation"))
    if train[LABEL].nunique() < 2:
        raise InvalidInput(f"{training_set_uri}: every training label is the same; widen the training window")
    labels = auxiliary_labels(manifest) if auxiliary else ()
    return Frames(train, validation, labels, read_auxiliary(store, training_set_uri, manifest) if labels else None)


def auxiliary_labels(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(manifest.get("auxiliary", ()))


def read_auxiliary(store: Store, training_set_uri: str, manifest: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of the training window of which only auxiliary labels are known; LABEL is NaN. There may be none.

    Raises:
        CorruptData, InvalidInput: as `read_frame`.
    """
    return _read(store, training_set_uri, "train_auxiliary", manifest)


def _read(store: Store, training_set_uri: str, frame_name: str, manifest: Mapping[str, Any]) -> pd.DataFrame:
    uri = f"{training_set_uri.rstrip('/')}/{frame_name}.parquet"
    content = store.read_bytes(uri)
    if hashlib.sha256(content).hexdigest() != manifest["sha256"].get(frame_name):
        raise CorruptData(f"{uri} is not the file that {MANIFEST} names; build the training set anew")
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptData(f"{uri} is not a whole Parquet file ({error}); build the training set anew") from None
    for name in model_inputs(manifest).categorical:
        if name in table.column_names and not _is_text(table.schema.field(name).type):
            raise InvalidInput(
                f"{uri} has the category {name} as {table.schema.field(name).type}, where its spelling is not settled; "
                "build the training set anew"
            )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column is text; one without any value may be of no type."""
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(values) or pa.types.is_large_string(values) or pa.types.is_null(values))
