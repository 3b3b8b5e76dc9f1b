"""Distillation (Hinton et al. 2015): a network learns the scores that a trained model gives each training row.

The loss of a row is `alpha * T^2 * L(z / T, sigmoid(t / T)) + (1 - alpha) * L(z, label)`, where z and t are the
log-odds of network and teacher, T is the temperature and L the log loss; T^2 keeps the gradient's size when T changes.
Class weights and the focal exponent apply to the labels' part only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.scorer import ModelScorer, Scorer
from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

CERTAIN = 1e-6  # scores are kept this far from 0 and 1, whose log-odds are infinite
SCORED = 8192  # rows that a teacher scores at once: a transformer's attention over all of them fills gigabytes


@dataclass(frozen=True)
class Lesson:
    """A teacher with its temperature and its weight in the loss."""

    teacher: Scorer
    temperature: float
    alpha: float

    def targets(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """The teacher's probabilities at the temperature, (N,)."""
        parts = [self.teacher.score(frame.iloc[at : at + SCORED]) for at in range(0, max(len(frame), 1), SCORED)]
        scores = np.clip(np.concatenate(parts), CERTAIN, 1 - CERTAIN)
        odds = np.log(scores / (1 - scores)) / self.temperature
        return (1 / (1 + np.exp(-odds))).astype(np.float32)

    def losses(self, hard: Tensor, log_odds: Tensor, targets: Tensor, is_labelled: Tensor) -> Tensor:
        """Loss (N, T) of each task, with the teacher's part in the first task's; it stays 0 where the label is unknown.

        Args:
            hard: (N, T), of the labels.
            log_odds: (N, T).
            targets, known: (N,), the teacher's probabilities, and whether the label is known.
        """
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        soft = binary_cross_entropy_with_logits(log_odds[:, 0] / self.temperature, targets, reduction="none")
        teacher_loss = torch.where(is_labelled, self.temperature**2 * soft, torch.zeros_like(soft))
        first = (1 - self.alpha) * hard[:, 0] + self.alpha * teacher_loss
        return torch.cat([first.unsqueeze(1), hard[:, 1:]], dim=1)


def require_fellow(teacher: ModelScorer, manifest: Manifest) -> None:
    """Check that a teacher has not seen the pupil's validation and test windows, and that it reads the same inputs.

    Args:
        manifest: of the pupil's training set.

    Raises:
        InvalidInput: if it may have seen them, or reads other inputs.
    """
    uri = teacher.model.uri
    if teacher.model.card.training_set.sha256 != manifest.files:
        raise InvalidInput(f"the teacher {uri} was trained on another training set; train it on this one")
    if teacher.model.card.refit:
        raise InvalidInput(
            f"the teacher {uri} was fitted again on the validation window, which is for its pupil; train it with "
            "training.refit: false"
        )
    if teacher.inputs != manifest.model_inputs.inputs:
        raise InvalidInput(
            f"the teacher {uri} reads other inputs than this training set declares; train it on this one"
        )
