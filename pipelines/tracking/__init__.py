"""All use of MLflow: runs and registered versions of one use case. A leaf: imports no step."""

from pipelines.tracking.registry import ModelRegistry
from pipelines.tracking.runs import Tracker
from pipelines.tracking.version import ModelVersion

__all__ = ["ModelRegistry", "ModelVersion", "Tracker"]
