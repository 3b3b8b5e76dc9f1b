"""Model families, one in each file, loaded on demand.

A family's module has `fit(task, settings) -> FittedModel` and `LIBRARIES`, the distributions whose versions determine
the result of a fit. The same task and settings give the same bytes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from pipelines.errors import InvalidInput
from pipelines.params.training import FAMILIES
from pipelines.training.onnx_graph import Body

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from pipelines.training.tasks import Task

MODULES = {name: f"{__name__}.{name}" for name in FAMILIES}


class FittedModel(Body, Protocol):
    """A fitted estimator and its graph, which compute the same function.

    Networks also have `epochs`, their number. One that learnt further labels has their names, `further`, and their
    probabilities, `further_outputs(frame)`, (N, k).
    """

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Log-odds of label 1, (N,), not yet calibrated, from the library that fitted the model."""


class Family(Protocol):
    LIBRARIES: tuple[str, ...]

    def fit(self, task: Task, settings: Any) -> FittedModel:
        """Fit on `task.train`; only networks read `epochs`, `compression`, `lesson`, `checkpoints` and `report`.

        Args:
            settings: the family's section of params.yaml.
        """


def reads_auxiliary(family: Family) -> bool:
    """Whether the family also learns from auxiliary labels; its module then has `AUXILIARY = True`."""
    return bool(getattr(family, "AUXILIARY", False))


def load_family(name: str) -> Family:
    """The module of a family.

    Raises:
        InvalidInput: if it is unknown, naming the families.
    """
    if name not in MODULES:
        raise InvalidInput(f"family {name!r} is unknown; choose from {', '.join(MODULES)}")
    return cast(Family, importlib.import_module(MODULES[name]))
