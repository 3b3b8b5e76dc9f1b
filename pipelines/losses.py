"""Losses of one row, by which two models that predict the same rows are compared.

This module is light to import, as `pipelines.usecase` is: numpy is imported inside the functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from pipelines.usecase import UseCase

    Array = NDArray[np.float64]

CLIP = 0.01  # probabilities are kept this far from 0 and 1 in the log losses, so that no row outweighs a block
WIDEST_LOG = math.log((1 - CLIP) / CLIP)  # the largest difference of two clipped log losses, in natural units
DEFAULT = "brier"


@dataclass(frozen=True)
class Loss:
    """A loss of one row: the lower, the better.

    Attributes:
        rows: of scores and labels, the loss of each row (N,); NaN where one of the two is NaN.
        largest_difference: that two losses of one row can have, in units of the loss; infinite where unbounded.
    """

    name: str
    rows: Callable[[ArrayLike, ArrayLike], Array]
    largest_difference: float


def pinball(quantile: float) -> Loss:
    """The loss of forecasts (N,) of a quantile of labels (N,), in units of the label.

    A label above the forecast costs `quantile` of the distance, one below it `1 - quantile`.

    Raises:
        InvalidInput: if the quantile does not lie between 0 and 1.

    Source: Koenker and Bassett 1978, "Regression quantiles".
    """
    if not 0 < quantile < 1:
        raise InvalidInput(f"the quantile {quantile!r} of a pinball loss must lie between 0 and 1")
    return Loss(f"pinball_{quantile:g}", partial(_pinball, quantile), math.inf)


def loss_of(usecase: UseCase) -> Loss:
    """The loss that a use case declares by its name, `loss`; the Brier score by default.

    Raises:
        InvalidInput: if there is no loss of that name.
    """
    name = getattr(usecase, "loss", DEFAULT)
    try:
        return LOSSES[name]
    except KeyError:
        raise InvalidInput(f"{usecase.name} declares the loss {name!r}; choose from {', '.join(LOSSES)}") from None


def _squared(score: ArrayLike, label: ArrayLike) -> Array:
    """(score - label) squared: scores and labels (N,); in squared units of the label.

    Where the label is 0 or 1 and the score a probability, it lies in [0, 1]: Brier 1950, "Verification of forecasts
    expressed in terms of probability" (half of his score, which adds up both classes).
    """
    return _error(score, label) ** 2


def _absolute(score: ArrayLike, label: ArrayLike) -> Array:
    """|score - label|: scores and labels (N,); in units of the label."""
    return abs(_error(score, label))


def _log_loss(score: ArrayLike, label: ArrayLike) -> Array:
    """Negative log-likelihood, in natural units, of labels (N,) of 0 and 1.

    The scores (N,) are their probabilities of 1, kept CLIP from 0 and 1.
    """
    import numpy as np

    y = np.asarray(label, dtype=np.float64)
    p = np.clip(np.asarray(score, dtype=np.float64), CLIP, 1 - CLIP)
    loss: Array = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    return loss


def _multiclass_brier(score: ArrayLike, label: ArrayLike) -> Array:
    """Squared differences, summed over the classes, of probabilities (N, C) and the class (N,): in [0, 2].

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    import numpy as np

    p, of_class = _classes(score, label)
    loss: Array = ((p - of_class) ** 2).sum(axis=1)
    return np.where(of_class.any(axis=1), loss, np.nan)


def _multiclass_log_loss(score: ArrayLike, label: ArrayLike) -> Array:
    """Negative log, in natural units, of the probability (N, C) of the class (N,), kept CLIP from 0 and 1."""
    import numpy as np

    p, of_class = _classes(score, label)
    loss: Array = -np.log(np.clip((p * of_class).sum(axis=1), CLIP, 1 - CLIP))  # NaN times 0 is NaN
    return np.where(of_class.any(axis=1), loss, np.nan)


def _classes(score: ArrayLike, label: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Probabilities (N, C), and whether each class is the row's (N, C): none where the label is NaN or no class."""
    import numpy as np

    p = np.asarray(score, dtype=np.float64)
    return p, np.asarray(label, dtype=np.float64)[:, None] == np.arange(p.shape[1])


def _pinball(quantile: float, score: ArrayLike, label: ArrayLike) -> Array:
    import numpy as np

    error = _error(score, label)
    return np.maximum((1 - quantile) * error, -quantile * error)


def _error(score: ArrayLike, label: ArrayLike) -> Array:
    import numpy as np

    error: Array = np.asarray(score, dtype=np.float64) - np.asarray(label, dtype=np.float64)
    return error


LOSSES: Mapping[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("brier", _squared, 1.0),
        Loss("log_loss", _log_loss, WIDEST_LOG),
        Loss("absolute", _absolute, math.inf),
        Loss("squared", _squared, math.inf),
        Loss("multiclass_brier", _multiclass_brier, 2.0),
        Loss("multiclass_log_loss", _multiclass_log_loss, WIDEST_LOG),
    )
}
BINARY = ("brier", "log_loss")  # of labels 0 and 1
