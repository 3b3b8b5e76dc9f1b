"""The judge's counts over rows, which may come in several parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from pipelines.deployment.pairing import Look
from pipelines.records import LateLabels

NO_SCORE = "no probability"  # in the server's message for an output that is not a number, or outside [0, 1]


@dataclass(frozen=True)
class RolloutCounts:
    """Counts over the rows of a rollout from its first on.

    Attributes:
        late: rows that came after their block had closed.
        labelled, newest: the number of labels, and the instant from which the last of them is known.
        due, due_labelled: rows whose own or whose block's labels have matured, and those of them with a label.
        scored, failed: requests of the challenger; numbers, lowest, highest: of its finite scores.
        refusals, outside: outputs of the challenger that the server refused; those for being outside [0, 1].
        misrouted: whether the wrong version has answered.
        shift, shifted: the sum of the absolute differences of the two scores, and their number.
        exposure: by plan, the requests that count for its stage (see `_exposure`).
        split: by plan, the entities that it drew, of the challenger's arm and of the champion's.
        errors, slow: events of the challenger and of the champion, the first of each entity.
        entities: by kind, as in `RolloutTally`.
        pace: the champion's p95 in milliseconds, beyond which a request is slow; None while it is not known.
        columns: the slice columns that closed pairs have.
    """

    requests: int = 0
    late: int = 0
    labelled: int = 0
    newest: datetime | None = None
    due: int = 0
    due_labelled: int = 0
    scored: int = 0
    failed: int = 0
    numbers: int = 0
    lowest: float = np.inf
    highest: float = -np.inf
    refusals: int = 0
    outside: int = 0
    misrouted: bool = False
    shift: float = 0.0
    shifted: int = 0
    exposure: Mapping[int, int] = field(default_factory=dict)
    split: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    errors: tuple[int, int] = (0, 0)
    slow: tuple[int, int] = (0, 0)
    entities: Mapping[str, int] = field(default_factory=dict)
    pace: float | None = None
    columns: tuple[str, ...] = ()

    def with_labels(self, late: LateLabels) -> RolloutCounts:
        """These counts with further labels of due rows."""
        newest = max((one for one in (self.newest, late.newest) if one is not None), default=None)
        labelled, due = self.labelled + late.number, self.due_labelled + late.number
        return replace(self, labelled=labelled, due_labelled=due, newest=newest)


def counted(rows: pd.DataFrame, look: Look, before: RolloutCounts) -> RolloutCounts:
    """The counts after further rows (see `paired`), without those of entities, events and slices."""
    scored = rows[rows.scores.map(lambda scores: look.challenger in scores).astype(bool) & ~rows.failed]
    numbers = scored.ours[np.isfinite(scored.ours)]
    due = rows.closes.fillna(rows.due) <= look.now
    messages = rows.errors.map(lambda errors: errors.get(look.challenger, ""))
    refusals = [message for message in messages if NO_SCORE in message]
    shift = (rows.ours - rows.theirs).abs().dropna().to_numpy(dtype=np.float64)
    newest = [known for known in (before.newest, rows.known_at.max()) if known is not None and not pd.isna(known)]
    return replace(
        before,
        requests=before.requests + len(rows),
        late=before.late + int(rows.closes.isna().sum()),
        labelled=before.labelled + int(rows.label.notna().sum()),
        newest=max((pd.Timestamp(known).to_pydatetime() for known in newest), default=None),
        due=before.due + int(due.sum()),
        due_labelled=before.due_labelled + int(rows.label[due].notna().sum()),
        scored=before.scored + len(scored),
        failed=before.failed + int(rows.failed.sum()),
        numbers=before.numbers + len(numbers),
        lowest=min(before.lowest, float(numbers.min())) if len(numbers) else before.lowest,
        highest=max(before.highest, float(numbers.max())) if len(numbers) else before.highest,
        refusals=before.refusals + len(refusals),
        outside=before.outside + sum("nan" not in message and "inf" not in message for message in refusals),
        misrouted=before.misrouted or bool(_find_misrouted(rows, look).any()),
        shift=float(
            np.cumsum([before.shift, *shift])[-1]
        ),  # added one by one, so that any cut into parts gives the same bits
        shifted=before.shifted + len(shift),
        exposure=_exposure(rows, look, before.exposure),
    )


def _exposure(rows: pd.DataFrame, look: Look, before: Mapping[int, int]) -> dict[int, int]:
    """By plan, how many requests count for its stage.

    In shadow the challenger answers no request, so the requests that it scored count. Later the requests count that
    were assigned to it and that it answered. Those that it answered for a champion that failed do not count: they are
    no part of its share of the traffic.
    """
    answered = (rows.assigned == look.challenger) & (rows.served == look.challenger)
    counted: dict[int, Any] = {
        plan.version: (answered if plan.share else rows.ours.notna())[rows.plan == plan.version].sum()
        for plan in look.plans
    }
    return {plan: before.get(plan, 0) + int(count) for plan, count in counted.items()}


def _find_misrouted(rows: pd.DataFrame, look: Look) -> pd.Series:
    """Rows that were answered by a version other than the assigned one, although that one did not fail."""
    available = rows.theirs.notna() & ~rows.champion_failed
    available = available.where(rows.assigned == look.champion, rows.ours.notna() & ~rows.failed)
    return (rows.served != rows.assigned) & (available | ~rows.served.isin([look.champion, look.challenger]))
