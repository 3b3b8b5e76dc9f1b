"""MLflow in one place: runs and registered versions of one use case. A leaf: imports no step."""

from pipelines.tracking.registry import ModelRegistry, ModelVersion
from pipelines.tracking.runs import Tracker

__all__ = ["ModelRegistry", "ModelVersion", "Tracker"]
