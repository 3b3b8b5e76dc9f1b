"""An estimator: a fitted family with the calibration of its log-odds and the threshold of alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from pipelines.training.onnx_graph import further_of
from pipelines.training.trainer import Trainer
from pipelines.usecase import DAY, LABEL

if TYPE_CHECKING:
    from pipelines.training.families import FittedModel

AGREEMENT = 1e-5  # largest difference allowed between the library's score and the graph's


@dataclass(frozen=True)
class Estimator:
    """A fitted, calibrated family with its threshold.

    Attributes:
        refit: whether `fitted` has also learnt from validation rows; calibration and threshold are of the first fit.
        threshold: the score from which rows are alarms; it costs least on validation, by `costs`.
    """

    fitted: FittedModel
    refit: bool
    calibration: Calibration
    calibration_facts: CalibrationFacts
    threshold: float
    costs: Costs

    def score(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Probabilities of label 1, (N,), from the library that fitted the model."""
        return self.calibration.apply(self.fitted.log_odds(frame))

    def score_all(self, frame: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As `score`, and the uncalibrated probabilities of the k further labels, (N, k)."""
        fitted: Any = self.fitted
        further = fitted.further_outputs(frame) if further_of(fitted) else np.zeros((len(frame), 0))
        return self.score(frame), further


def finish(trainer: Trainer, settings: FamilySettings, fitted: FittedModel, params: Params) -> Estimator:
    """Calibrate a fit on the validation window, choose its threshold, and refit if params say so."""
    validation, training = trainer.task.validation, params.training
    log_odds, labels = fitted.log_odds(validation), validation[LABEL].to_numpy()
    calibration, facts = fit_calibration(training.calibration, log_odds, labels, validation[DAY].to_numpy())
    threshold = best_threshold(labels, calibration.apply(log_odds), params.costs)
    if training.refit:  # with the same calibration and threshold: every row here is in the refitted model's sample
        fitted = trainer.refit(settings, fitted)
    return Estimator(fitted, training.refit, calibration, facts, threshold, params.costs)


def require_agreement(model: Model, estimator: Estimator, frame: pd.DataFrame) -> None:
    """Check that a graph scores a frame as the library that fitted it does, further outputs included.

    Raises:
        CheckFailed: if a score differs by more than AGREEMENT, or is not a number.
    """
    (ours, ours_further), (theirs, theirs_further) = ModelScorer.of(model).score_all(frame), estimator.score_all(frame)
    difference = np.abs(np.column_stack([ours - theirs, ours_further - theirs_further])).max()
    if not difference <= AGREEMENT:
        raise CheckFailed(
            f"{model.card.family}: a score of the ONNX graph differs by {difference:.2g} from the fitted model's "
            f"(at most {AGREEMENT:g}); report the family and its settings"
        )
