"""Rows of the prediction log, and columns derived from them and the plans of a rollout.

A row has the version that its entity was assigned to (by the plan alone), the versions that failed (`errors`), and the
version that answered (`served`), which differs from the assigned one where that one failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from pipelines.deployment.foretold import Foretold
from pipelines.losses import LOSSES, Loss
from pipelines.records import Plan
from pipelines.traffic import serves_challenger

UNKNOWN = Foretold()


@dataclass(frozen=True)
class Look:
    """The facts behind one look at a rollout, besides the rows.

    Attributes:
        plans: of the rollout, oldest first; the last is the one in force.
        names: of all stages, in order.
        champion_loss, slow_ms: frozen when the rollout began; slow_ms is None if there was too little traffic then.
        needed: rows from which the p95 is taken where slow_ms is None.
        loss: the loss by which the versions are compared.
        foretold: what is known of the pair from before the rollout.
        days: the time limit.
        slices: the columns of Observation.slices, in their order.
        missing_inputs: see Flags.
    """

    now: datetime
    began: datetime
    champion: str
    challenger: str
    plans: Sequence[Plan]
    stage: str
    names: Sequence[str]
    maturity: timedelta
    champion_loss: float
    slow_ms: float | None
    needed: int
    loss: Loss = LOSSES["brier"]
    foretold: Foretold = UNKNOWN
    days: float = 60
    slices: tuple[str, ...] = ()
    missing_inputs: tuple[str, ...] = ()

    @property
    def in_force(self) -> Plan:
        return self.plans[-1]


def paired(rows: pd.DataFrame, look: Look, closings: pd.Series | None = None) -> pd.DataFrame:
    """The rows with the columns derived from them and the plans.

    Columns: assigned (the version, by the plan), ours, theirs (scores), difference (of losses; NaN unless both
    versions scored), due and block_due (the instants at which the labels of the row and of its block have matured),
    closes (the same as block_due, but NaT for a late row, which came after its block had closed), failed,
    champion_failed.

    Args:
        rows: in order of `predicted_at`.
        closings: block_due of the blocks that have earlier rows, by name.
    """
    ours, theirs = (numbers_of(rows.scores, version) for version in (look.challenger, look.champion))
    due, block_due = rows.predicted_at + look.maturity, _block_due(rows, look, closings)
    label = rows.label.astype(float)
    loss, known = look.loss.rows, label.to_numpy()
    return rows.assign(
        assigned=_assigned(rows, look),
        ours=ours,
        theirs=theirs,
        label=label,
        difference=loss(ours.to_numpy(), known) - loss(theirs.to_numpy(), known),
        due=due,
        block_due=block_due,
        closes=block_due.where(due <= block_due),
        failed=rows.errors.map(lambda errors: look.challenger in errors).astype(bool),
        champion_failed=rows.errors.map(lambda errors: look.champion in errors).astype(bool),
    )


def _block_due(rows: pd.DataFrame, look: Look, closings: pd.Series | None) -> pd.Series:
    """The instant at which the labels of each row's block have matured.

    The block's first row decides: whatever later rows say, a closed block does not change.
    """
    due: pd.Series = rows.groupby("block", sort=False).closes_at.transform("first") + look.maturity
    return due if closings is None else rows.block.map(closings).astype(due.dtype).fillna(due)


def _assigned(rows: pd.DataFrame, look: Look) -> list[str]:
    """The version that each row's plan assigns its entity to, whichever version answered."""
    plans = {plan.version: plan for plan in look.plans}
    return [
        look.challenger if serves_challenger(plans[plan].rollout, entity, plans[plan].share) else look.champion
        for plan, entity in zip(rows.plan, rows.entity, strict=True)
    ]


def numbers_of(values: pd.Series, version: str) -> pd.Series:
    """The numbers of one version, NaN where there is none."""
    return pd.to_numeric(values.map(lambda by_version: by_version.get(version)), errors="coerce").astype(float)
