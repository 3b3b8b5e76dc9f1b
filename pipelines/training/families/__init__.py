"""Model families, one a file, loaded when asked for.

A family's module has `fit(train, validation, inputs, cleaning, settings, seed, extras) -> Fitted` and `LIBRARIES`, the
distributions whose versions decide what a fit gives. The same frames, cleaning, settings and seed give the same bytes.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pipelines.errors import InvalidInput
from pipelines.params.compression import NONE, Compression
from pipelines.params.training import FAMILIES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from pipelines.training.cleaning import Cleaning
    from pipelines.training.distillation import Lesson
    from pipelines.training.onnx_graph import Graph
    from pipelines.training.search import Progress
    from pipelines.usecase import ModelInputs

MODULES = {name: f"{__name__}.{name}" for name in FAMILIES}


@dataclass(frozen=True)
class Extras:
    """What a fit may use besides frames and settings. `checkpoints` and `report` do not change what it gives.

    Attributes:
        auxiliary: columns of the training frame with further labels, 0, 1 or NaN where unknown. A family that reads
            them (`reads_auxiliary`) also gets rows of which only these are known.
        checkpoints: a local folder of this fit alone, from which a fit that was killed goes on.
        report: called with the number of epochs done and the validation loss; what it raises ends the fit.
        epochs: a family that stops by the validation window ends after so many instead, whatever the window says.
        compression: how a network is pruned at the end of its fit.
        lesson: of a teacher, which a network learns besides the labels.
    """

    auxiliary: tuple[str, ...] = ()
    checkpoints: Path | None = None
    report: Progress | None = None
    epochs: int | None = None
    compression: Compression = NONE
    lesson: Lesson | None = None


ALONE = Extras()


class Fitted(Protocol):
    """A fitted estimator."""

    @property
    def inputs(self) -> ModelInputs: ...

    def log_odds(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Log-odds of label 1, (N,), not yet calibrated, from the library that fitted the model."""

    def body(self, graph: Graph) -> str:
        """Add the nodes of the same function to a graph (see `pipelines.training.onnx_graph`); their output, (N, 1)."""


class Family(Protocol):
    LIBRARIES: tuple[str, ...]

    def fit(
        self,
        train: pd.DataFrame,
        validation: pd.DataFrame,
        inputs: ModelInputs,
        cleaning: Cleaning,
        settings: Any,
        seed: int,
        extras: Extras = ALONE,
    ) -> Fitted:
        """Fit on `train`; `validation` may only decide when to stop.

        Args:
            cleaning: of the numeric inputs, fitted on `train`; a part of the model.
            settings: the family's section of params.yaml.
            extras: of which only networks read `epochs`, `compression` and `lesson`.
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
