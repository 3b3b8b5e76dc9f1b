"""The MLflow signature and input example of a model."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipelines.artifacts.model import Model
from pipelines.artifacts.scorer import model_arrays


def signature(model: Model) -> Any:
    """Two tensors in, one out, as in `pipelines.training.onnx_graph`."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs = model.card.inputs
    return ModelSignature(
        inputs=Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, len(inputs.numeric)), "numeric"),
                TensorSpec(np.dtype(object), (-1, len(inputs.categorical)), "categorical"),
            ]
        ),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1,), "score")]),
    )


def example(model: Model, row: pd.DataFrame) -> dict[str, Any]:
    """A row that the model scored, as its two tensors."""
    numeric, categorical = model_arrays(row.iloc[:1], model.card.inputs.inputs)
    return {"numeric": numeric, "categorical": categorical}
