"""A fitted family with what makes its log-odds a probability and a probability an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.artifacts.card import CalibrationFacts
from pipelines.artifacts.model import Model
from pipelines.artifacts.scorer import ModelScorer
from pipelines.errors import CheckFailed
from pipelines.metrics.costs import best_threshold
from pipelines.params import Params
from pipelines.params.costs import Costs
from pipelines.params.training import FamilySettings
from pipelines.training.calibration import Calibration, fit_calibration
from pipelines.training.trainer import Trainer
from pipelines.usecase import DAY, LABEL

if TYPE_CHECKING:
    from pipelines.training.families import Fitted

AGREEMENT = 1e-5  # largest difference allowed between the library's score and the graph's


@dataclass(frozen=True)
class Estimator:
    """What one model computes.

    Attributes:
        refit: whether `fitted` has learnt from validation rows too; calibration and threshold are of the first fit.
        threshold: the score from which an alarm costs least on validation, by `costs`.
    """

    fitted: Fitted
    refit: bool
    calibration: Calibration
    calibration_facts: CalibrationFacts
    threshold: float
    costs: Costs

    def score(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Probabilities of label 1, (N,), from the library that fitted the model."""
        return self.calibration.apply(self.fitted.log_odds(frame))


def finish(trainer: Trainer, settings: FamilySettings, fitted: Fitted, params: Params) -> Estimator:
    """Calibrate a fit on the validation window, choose its threshold, and fit once more if params say so."""
    held, training = trainer.task.validation, params.training
    log_odds, labels = fitted.log_odds(held), held[LABEL].to_numpy()
    calibration, facts = fit_calibration(training.calibration, log_odds, labels, held[DAY].to_numpy())
    threshold = best_threshold(labels, calibration.apply(log_odds), params.costs)
    if training.refit:  # calibration and threshold stay: to the refitted model no row here is out of sample
        fitted = trainer.refit(settings, fitted)
    return Estimator(fitted, training.refit, calibration, facts, threshold, params.costs)


def require_agreement(model: Model, estimator: Estimator, frame: pd.DataFrame) -> None:
    """Refuse a graph that scores a frame otherwise than the library that fitted it.

    Raises:
        CheckFailed: if a score is further than AGREEMENT away, or not a number.
    """
    difference = np.abs(ModelScorer.of(model).score(frame) - estimator.score(frame)).max()
    if not difference <= AGREEMENT:
        raise CheckFailed(
            f"{model.card.family}: the ONNX graph is {difference:.2g} away from the fitted model "
            f"(at most {AGREEMENT:g})"
        )
