"""Model families, one a file, loaded when one is wanted.

A family's module has `fit(task, settings) -> Fitted` and `LIBRARIES`, the distributions whose versions decide what a
fit gives. The same task and settings give the same bytes.
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


class Fitted(Body, Protocol):
    """A fitted estimator, whose graph is the same function. A network's also has `epochs`, for which it was fitted."""

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Log-odds of label 1, (N,), not yet calibrated, from the library that fitted the model."""


class Family(Protocol):
    LIBRARIES: tuple[str, ...]

    def fit(self, task: Task, settings: Any) -> Fitted:
        """Fit on `task.train`; only networks read `epochs`, `compression`, `lesson`, `checkpoints` and `report`.

        Args:
            settings: the family's section of params.yaml.
        """


def reads_auxiliary(family: Family) -> bool:
    """Whether the family learns from auxiliary labels too, which its module says by `AUXILIARY = True`."""
    return bool(getattr(family, "AUXILIARY", False))


def load_family(name: str) -> Family:
    """The module of a family.

    Raises:
        InvalidInput: naming the families there are.
    """
    if name not in MODULES:
        raise InvalidInput(f"family {name!r} is unknown; choose from {', '.join(MODULES)}")
    return cast(Family, importlib.import_module(MODULES[name]))
