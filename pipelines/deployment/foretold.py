"""What is known of a pair before its rollout, from the challenger's evaluation: how far the two differ, and what lacks.

The champion scores the rows of the challenger's test window, which neither has been trained on. From day to day (block
to block) the differences of their losses then scatter as they will in the rollout, in each declared slice as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pipelines.artifacts.document import Frozen
from pipelines.judge import Scatter

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.artifacts.model import ModelRef
    from pipelines.context import Context
    from pipelines.losses import Loss
    from pipelines.tracking.version import ModelVersion

FEW = 30  # rows of a slice below which nothing is told of it
RARE = 10  # labels of the rarer class below which differences may hardly scatter yet


class Foretold(Frozen):
    """What is frozen about a pair when its rollout begins.

    Attributes:
        scatter: of the blocks; None where there were too few, or the champion cannot score the challenger's rows.
        long_run: the long-run variance of the blocks over their variance (1 where they are independent).
        mean: of the blocks' differences; it decides nothing.
        champion_loss: the champion's mean loss over these rows.
        blocks_per_day: that have rows.
        row_reach: the largest difference of the two losses of one row: the loss's own bound, or what was seen.
        slices: scatter by COLUMN=VALUE.
        missing: by column of the challenger's test frame, the share of rows in which it was missing.
        why: why there is no scatter.
    """

    scatter: Scatter | None = None
    long_run: float = 1.0
    mean: float | None = None
    champion_loss: float | None = None
    blocks_per_day: float = 1.0
    row_reach: float = 1.0
    slices: dict[str, Scatter] = Field(default_factory=dict)
    missing: dict[str, float] = Field(default_factory=dict)
    why: str | None = None


def foretell(context: Context, champion: ModelRef, challenger: ModelVersion) -> Foretold:
    """Score the challenger's test window with both models.

    Raises:
        MissingData, CorruptData: if the challenger's evaluation is not there, or altered.
    """
    from pipelines.artifacts.evaluation import Evaluation, read_scored
    from pipelines.artifacts.scorer import load_scorer
    from pipelines.errors import InvalidInput
    from pipelines.losses import loss_of
    from pipelines.usecase import LABEL, blocks_of

    store = context.data.store
    scored = read_scored(store, challenger.evaluation_uri, Evaluation.read(store, challenger.evaluation_uri))
    missing = {str(name): float(share) for name, share in scored.isna().mean().items()}
    loss = loss_of(context.usecase)
    try:
        theirs = load_scorer(store, champion).score(scored)
    except InvalidInput as error:
        return Foretold(missing=missing, why=f"the champion cannot score the challenger's test rows: {error}")
    label = scored[LABEL].to_numpy(np.float64)
    losses = loss.rows(theirs, label)
    difference = loss.rows(scored["score"].to_numpy(np.float64), label) - losses
    told = _told(scored, difference, blocks_of(scored), loss, tuple(context.usecase.slices))
    return told.model_copy(update={"missing": missing, "champion_loss": float(losses.mean())})


def _told(
    scored: pd.DataFrame, difference: np.ndarray, blocks: pd.Series, loss: Loss, columns: tuple[str, ...]
) -> Foretold:
    import pandas as pd

    from pipelines.judge.betting import LEAST
    from pipelines.judge.plan import long_run_ratio
    from pipelines.losses import BINARY
    from pipelines.usecase import DAY, LABEL

    rows = pd.Series(difference, index=scored.index)
    means = rows.groupby(blocks.to_numpy(), sort=True).mean().to_numpy()
    slices: dict[str, Scatter] = {}
    for column in columns:
        known = scored[column].dropna().map(_text) if column in scored else pd.Series(dtype=object)
        for value, part in rows.loc[known.index].groupby(known):
            if len(part) >= FEW:
                each = part.groupby(blocks.loc[part.index].to_numpy()).mean()
                if (scatter := Scatter.of(each.to_numpy())) is not None:
                    slices[f"{column}={value}"] = scatter
    label = scored[LABEL]
    rare = int(min((label > 0).sum(), (label <= 0).sum())) if loss.name in BINARY else RARE
    scatter, why = Scatter.of(means), f"the challenger's test window has {len(means)} blocks, and {LEAST} tell a scale"
    if rare < RARE:
        scatter, slices = None, {}
        why = f"the challenger's test window has {rare} labels of the rarer class, and {RARE} tell a scale"
    assert len(means)  # an evaluation has rows
    return Foretold(
        scatter=scatter,
        long_run=long_run_ratio(means),
        mean=float(means.mean()),
        blocks_per_day=len(means) / max(scored[DAY].nunique(), 1),
        row_reach=loss.largest_difference if np.isfinite(loss.largest_difference) else float(np.abs(difference).max()),
        slices=slices,
        why=None if scatter else why,
    )


def _text(value: object) -> str:
    """A value of a slice as a request's JSON has it: whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
