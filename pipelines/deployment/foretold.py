"""The pair before its rollout, from the challenger's evaluation: scatter of loss differences, and missing inputs.

The champion scores the rows of the challenger's test window. Where neither was trained on them, the differences of
their losses scatter from day to day (block to block) as they will in the rollout, in each declared slice as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pipelines.artifacts.document import Frozen
from pipelines.json_text import JsonObject
from pipelines.judge import Scatter

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from pipelines.artifacts.card import ModelCard
    from pipelines.artifacts.model import ModelRef
    from pipelines.context import Context
    from pipelines.tracking.version import ModelVersion

FEW = 30  # least rows of a slice for which a scatter is estimated
RARE = 10  # least labels of the rarer class: with fewer, differences may not show their scatter


class Foretold(Frozen):
    """What is frozen about a pair when its rollout begins.

    Attributes:
        scatter: of the blocks; None where there were too few, or the champion cannot score the challenger's rows.
        long_run: the long-run variance of the blocks over their variance (1 where they are independent).
        mean: of the blocks' differences; it decides nothing.
        champion_loss: the champion's mean loss over these rows.
        blocks_per_day: blocks with rows in a day.
        horizon, narrowest: they size the judge's bets: the blocks within the time limit, and the margin in
            units of the loss, by the rules in force when the rollout began. None for earlier rollouts.
        row_reach: the largest difference of the two losses of one row: the loss's own bound.
        slices: scatter by COLUMN=VALUE, of all values that have FEW rows; None where it is not known.
        missing: by column of the challenger's test frame, the share of rows in which it was missing.
        why: why there is no scatter.
    """

    scatter: Scatter | None = None
    long_run: float = 1.0
    mean: float | None = None
    champion_loss: float | None = None
    blocks_per_day: float = 1.0
    horizon: float | None = None
    narrowest: float | None = None
    row_reach: float = 1.0
    slices: dict[str, Scatter | None] = Field(default_factory=dict)
    missing: dict[str, float] = Field(default_factory=dict)
    why: str | None = None


def foretell(context: Context, champion: ModelRef, challenger: ModelVersion) -> Foretold:
    """Score the challenger's test window with both models.

    Raises:
        MissingData, CorruptData: if the challenger's evaluation is missing or altered.
    """
    from pipelines.artifacts.evaluation import Evaluation, read_scored
    from pipelines.artifacts.scorer import load_scorer
    from pipelines.blocks import blocks_of
    from pipelines.errors import InvalidInput
    from pipelines.losses import BINARY, loss_of
    from pipelines.usecase import DAY, LABEL

    store = context.data.store
    scored = read_scored(store, challenger.evaluation_uri, Evaluation.read(store, challenger.evaluation_uri))
    missing = {str(name): float(share) for name, share in scored.isna().mean().items()}
    loss = loss_of(context.usecase)
    if loss.name not in BINARY:
        raise InvalidInput(f"{context.usecase.name} declares the loss {loss.name!r}; rollouts compare {BINARY} as yet")
    blocks, judge = blocks_of(scored), context.params.rollout.judge
    per_day = blocks.nunique() / max(scored[DAY].nunique(), 1)
    slices = {name: None for name, _ in _slices(scored, tuple(context.usecase.slices))}
    known = Foretold(
        blocks_per_day=per_day,
        horizon=max(1.0, per_day * judge.max_days),
        row_reach=loss.largest_difference,
        slices=slices,
        missing=missing,
    )
    try:
        scorer = load_scorer(store, champion)
        theirs = scorer.score(scored)
    except InvalidInput as error:
        return known.model_copy(update={"why": f"the champion cannot score the challenger's test rows: {error}"})
    label = scored[LABEL].to_numpy(np.float64)
    losses = loss.rows(theirs, label)
    difference = loss.rows(scored["score"].to_numpy(np.float64), label) - losses
    if odd := int((~np.isfinite(difference)).sum()):
        return known.model_copy(update={"why": f"{odd} of the challenger's test rows have no loss that is a number"})
    known = known.model_copy(update={"champion_loss": float(losses.mean())})
    if (learnt := _learnt_until(scorer.model.card)) is not None and learnt > scored[DAY].min():
        why = f"the champion has learnt from days until {learnt}, which lie in the challenger's test window"
        return known.model_copy(update={"why": why})
    return known.model_copy(update=_scale(scored, difference, blocks, tuple(context.usecase.slices)))


def _learnt_until(card: ModelCard) -> date | None:
    """The day after the last one of the champion's training and validation windows; None if its card has none."""
    windows = card.training_set.windows
    ends = [windows[name][1] for name in ("train", "validation") if name in windows]
    return max(ends, default=None)


def _scale(scored: pd.DataFrame, difference: np.ndarray, blocks: pd.Series, columns: tuple[str, ...]) -> JsonObject:
    """The fields with the scatter of the pair, overall and by slice."""
    import pandas as pd

    from pipelines.judge.betting import LEAST
    from pipelines.judge.plan import long_run_ratio
    from pipelines.usecase import LABEL, PREDICTED_AT

    label, rows = scored[LABEL], pd.Series(difference, index=scored.index)
    order = scored[PREDICTED_AT].groupby(blocks).max().sort_values(kind="stable").index
    means = rows.groupby(blocks).mean().loc[order].to_numpy()
    rare = int(min((label > 0).sum(), (label <= 0).sum()))
    if rare < RARE or len(means) < LEAST:
        few = f"{len(means)} blocks, and {LEAST}" if rare >= RARE else f"{rare} labels of the rarer class, and {RARE}"
        return {"why": f"the challenger's test window has {few} tell a scale"}
    return {
        "scatter": Scatter.of(means),
        "long_run": long_run_ratio(means),
        "mean": float(means.mean()),
        "slices": {
            name: Scatter.of(rows.loc[index].groupby(blocks.loc[index]).mean().to_numpy())
            for name, index in _slices(scored, columns)
        },
    }


def _slices(scored: pd.DataFrame, columns: tuple[str, ...]) -> Iterator[tuple[str, pd.Index[Any]]]:
    """Name and rows of every slice that has FEW rows."""
    for column in columns:
        if column in scored:
            known = scored[column].dropna().map(slice_value)
            for value, index in known.groupby(known).groups.items():
                if len(index) >= FEW:
                    yield f"{column}={value}", index


def slice_value(value: object) -> str:
    """The value of a slice as text, the same from a frame's column and from a request's field."""
    whole = isinstance(value, bool | np.bool_) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]
