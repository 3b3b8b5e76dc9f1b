"""The MLflow signature and input example of a model."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipelines.artifacts.card import FURTHER
from pipelines.artifacts.model import Model
from pipelines.artifacts.scorer import model_arrays


def signature(model: Model) -> Any:
    """Two tensors in, one out, and one more where there are further outputs, as in `pipelines.training.onnx_graph`."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs, further = model.card.inputs, len(model.card.further)
    more = [TensorSpec(np.dtype(np.float32), (-1, further), FURTHER)] if further else []
    return ModelSignature(
        inputs=Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, len(inputs.numeric)), "numeric"),
                TensorSpec(np.dtype(object), (-1, len(inputs.categorical)), "categorical"),
            ]
        ),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1,), "score"), *more]),
    )


def example(model: Model, row: pd.DataFrame) -> dict[str, Any]:
    """A row that the model scored, as its two tensors."""
    numeric, categorical = model_arrays(row.iloc[:1], model.card.inputs.inputs)
    return {"numeric": numeric, "categorical": categorical}
