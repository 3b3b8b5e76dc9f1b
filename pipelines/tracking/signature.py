"""What MLflow says of a model's inputs and output."""

from __future__ import annotations

from typing import Any

from pipelines.scorer import Model


def signature(model: Model) -> Any:
    """Two tensors in, one out, as in `pipelines.training.onnx_graph`."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs = model.card["inputs"]
    return ModelSignature(
        inputs=Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, len(inputs["numeric"])), "numeric"),
                TensorSpec(np.dtype(object), (-1, len(inputs["categorical"])), "categorical"),
            ]
        ),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1,), "score")]),
    )


def example(model: Model) -> dict[str, Any]:
    """One row with every string missing."""
    import numpy as np

    inputs = model.card["inputs"]
    return {
        "numeric": np.zeros((1, len(inputs["numeric"])), dtype=np.float32),
        "categorical": np.full((1, len(inputs["categorical"])), "", dtype=object),
    }
