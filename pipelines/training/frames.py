"""Reading the frames of a training set."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.scorer import model_arrays
from pipelines.artifacts.seal import read_named
from pipelines.errors import CorruptData, InvalidInput
from pipelines.store import Store
from pipelines.training.tasks import Frames
from pipelines.usecase import LABEL, ModelInputs


def numeric_inputs(frame: pd.DataFrame, inputs: ModelInputs) -> NDArray[np.float32]:
    """The numeric inputs of a frame: (N, n), NaN for missing; raises InvalidInput as `model_arrays`."""
    return model_arrays(frame, ModelInputs(inputs.numeric, ()))[0]


def read_frame(store: Store, training_set_uri: str, name: str, manifest: Manifest) -> pd.DataFrame:
    """One of train, validation and test.

    Raises:
        CorruptData: if the file is not the one that the manifest names.
        InvalidInput: if it has no row, labels other than 0 and 1, or a category that is not text, as in training sets
            from before the spelling of categories was defined.
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


def read_frames(store: Store, training_set_uri: str, manifest: Manifest, auxiliary: bool) -> Frames:
    """The frames for fitting and validating a family.

    Args:
        auxiliary: whether the family reads auxiliary labels, and rows that have only these.

    Raises:
        CorruptData, InvalidInput: as `read_frame`.
        InvalidInput: if every training label is the same.
    """
    train, validation = (read_frame(store, training_set_uri, name, manifest) for name in ("train", "validation"))
    if train[LABEL].nunique() < 2:
        raise InvalidInput(f"{training_set_uri}: every training label is the same; widen the training window")
    labels = manifest.auxiliary if auxiliary else ()
    return Frames(train, validation, labels, read_auxiliary(store, training_set_uri, manifest) if labels else None)


def read_auxiliary(store: Store, training_set_uri: str, manifest: Manifest, name: str = "train") -> pd.DataFrame:
    """The rows of the window of train or test that have only auxiliary labels, perhaps none; LABEL is NaN.

    Raises:
        CorruptData, InvalidInput: as `read_frame`.
    """
    return _read(store, training_set_uri, f"{name}_auxiliary", manifest)


def _read(store: Store, training_set_uri: str, frame_name: str, manifest: Manifest) -> pd.DataFrame:
    uri = f"{training_set_uri.rstrip('/')}/{frame_name}.parquet"
    content = read_named(store, uri, manifest.sha256.get(frame_name), manifest.FILE, manifest.REMEDY)
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptData(f"{uri} is not a whole Parquet file ({error}); build the training set anew") from None
    for name in manifest.model_inputs.categorical:
        if name in table.column_names and not _is_text(table.schema.field(name).type):
            raise InvalidInput(
                f"{uri} has the category {name} as {table.schema.field(name).type}, where its spelling is not settled; "
                "build the training set anew"
            )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column is text; one without any value may have the null type."""
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(values) or pa.types.is_large_string(values) or pa.types.is_null(values))
