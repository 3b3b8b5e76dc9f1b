"""From rows of the prediction log to the judge's evidence: pure functions over frames.

A row has the version that its entity was assigned to (by the plan alone), the versions that failed (`errors`), and the
version that answered (`served`), which differs from the assigned one where that one failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.deployment.baseline import pace
from pipelines.deployment.foretold import Foretold, slice_value
from pipelines.judge import Blocks, Events, Evidence, Exposure, Flags, Segment, SplitCount, matured
from pipelines.losses import LOSSES, Loss
from pipelines.params.rollout import WatchRules
from pipelines.records import Plan
from pipelines.traffic import serves_challenger

UNKNOWN = Foretold()
NO_SCORE = "no probability"  # in the server's message for an output that is not a number, or outside [0, 1]


@dataclass(frozen=True)
class Look:
    """The facts that one look at a rollout rests on, besides the rows.

    Attributes:
        plans: of the rollout, oldest first; the last is the one in force.
        names: of all stages, in order.
        champion_loss, slow_ms: frozen when the rollout began; slow_ms is None if there was too little traffic then.
        needed: rows from which the p95 is taken where slow_ms is None.
        loss: that the versions are compared by.
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


def paired(rows: pd.DataFrame, look: Look) -> pd.DataFrame:
    """The rows with the columns that follow from them and the plans.

    Columns: assigned (the version, by the plan), ours, theirs (scores), difference (of losses; NaN unless both
    versions scored), due and closes (the instants at which the labels of the row and of its block have matured; closes
    is NaT for a late row), failed, champion_failed.

    Args:
        rows: in order of `predicted_at`.
    """
    ours, theirs = (_of(rows.scores, version) for version in (look.challenger, look.champion))
    label = rows.label.astype(float)
    loss, known = look.loss.rows, label.to_numpy()
    return rows.assign(
        assigned=_assigned(rows, look),
        ours=ours,
        theirs=theirs,
        label=label,
        difference=loss(ours.to_numpy(), known) - loss(theirs.to_numpy(), known),
        due=rows.predicted_at + look.maturity,
        closes=_closing(rows) + look.maturity,
        failed=rows.errors.map(lambda errors: look.challenger in errors).astype(bool),
        champion_failed=rows.errors.map(lambda errors: look.champion in errors).astype(bool),
    )


def _closing(rows: pd.DataFrame) -> pd.Series:
    """The instant at which each row's block closed; NaT for a late row, which came after that.

    It is the one that the block's first row names: whatever later rows say, a block that has closed stays as it is.
    """
    closing: pd.Series = rows.groupby("block", sort=False).closes_at.transform("first")
    return closing.where(rows.predicted_at <= closing)


def _assigned(rows: pd.DataFrame, look: Look) -> list[str]:
    """The version that each row's plan assigns its entity to, whichever version answered."""
    plans = {plan.version: plan for plan in look.plans}
    return [
        look.challenger if serves_challenger(plans[plan].rollout, entity, plans[plan].share) else look.champion
        for plan, entity in zip(rows.plan, rows.entity, strict=True)
    ]


def evidence(rows: pd.DataFrame, look: Look, watch: WatchRules) -> Evidence:
    """The evidence for the judge from the rows under a rollout's plans (see `paired`)."""
    if rows.empty:
        return Evidence(look.champion_loss, _exposure(rows, rows, look), flags=_flags(rows, look, watch))
    both = rows.scores.map(lambda scores: {look.champion, look.challenger} <= set(scores)).astype(bool)
    comparable = rows[both & ~rows.failed & ~rows.champion_failed]
    closed = comparable[_counts(comparable, "closes", look.now)]
    matured_rows = comparable[_counts(comparable, "due", look.now)].sort_values(["due", "entity"], kind="stable")
    trials = rows[rows.ours.notna() | rows.failed]
    return Evidence(
        champion_loss=look.champion_loss,
        exposure=_exposure(rows, closed, look),
        blocks=_blocks(closed),
        foretold=look.foretold.scatter,
        horizon=look.foretold.horizon or look.days,
        narrowest=look.foretold.narrowest,
        row_reach=look.foretold.row_reach,
        segments=_segments(closed, look),
        differences=matured_rows.difference.to_numpy(dtype=np.float64, copy=True),
        errors=_events(rows, rows.failed, rows.champion_failed),
        slow=_slow(rows, look, watch),
        trials=int(trials.entity.nunique()),
        failures=int(rows.entity[rows.failed].nunique()),
        split=_split(rows, look),
        flags=_flags(rows, look, watch),
    )


def _blocks(closed: pd.DataFrame) -> Blocks:
    closes = _seconds(closed.closes)
    return Blocks.of(closed.block.to_numpy(dtype=str), closed.difference, closed.label, closes)


def _segments(closed: pd.DataFrame, look: Look) -> tuple[Segment, ...]:
    """The closed blocks of each slice that was seen before the rollout, of the columns that the requests have."""
    seen: dict[str, pd.Index[Any] | None] = {}
    for at, column in enumerate(look.slices):
        values = closed.slices.map(lambda told, at=at: told[at]).dropna().map(slice_value)
        if len(values):
            rows_of = {f"{column}={value}": labels for value, labels in values.groupby(values).groups.items()}
            names = (name for name in look.foretold.slices if name.startswith(f"{column}="))
            seen |= {name: rows_of.get(name) for name in names}
    return tuple(
        Segment(name, Blocks() if labels is None else _blocks(closed.loc[labels]), look.foretold.slices[name])
        for name, labels in sorted(seen.items())
    )


def _seconds(instants: pd.Series) -> NDArray[np.float64]:
    """Epoch seconds, NaN for a missing instant."""
    return np.asarray((instants - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1), dtype=np.float64)


def _counts(rows: pd.DataFrame, due: str, now: datetime) -> NDArray[np.bool_]:
    return matured(_seconds(rows[due]), _seconds(rows.known_at), now.timestamp())


def _exposure(rows: pd.DataFrame, closed: pd.DataFrame, look: Look) -> Exposure:
    """How far the stage in force has come.

    In shadow the challenger answers no request, so the requests that it scored count. Later the requests count that
    were assigned to it and that it answered. Those that it answered for a champion that failed do not count: they are
    no part of its share of the traffic.
    """
    plan = look.in_force
    here = rows[rows.plan == plan.version]
    ours = look.challenger
    requests = (here.assigned == ours) & (here.served == ours) if plan.share else here.ours.notna()
    return Exposure(
        stage=list(look.names).index(plan.stage),
        requests=int(requests.sum()),
        seconds=max(0.0, (look.now - plan.since).total_seconds()),
        blocks=int(closed.block[closed.closes > plan.since].nunique()),
        elapsed=max(0.0, (look.now - look.began).total_seconds()),
    )


def _events(rows: pd.DataFrame, ours: pd.Series, theirs: pd.Series) -> Events:
    """First event of each entity. Both versions score every request, so each has half of the exposure."""
    parts = [rows[hit].assign(challenger=challenger) for hit, challenger in ((theirs, False), (ours, True))]
    events = pd.concat(parts).sort_index(kind="stable")
    # A request on which both failed does not show which version is worse.
    events = events[~events.index.duplicated(keep=False)]
    at = np.arange(len(events))
    return Events.first(
        events.entity.to_numpy(dtype=str), at, np.full(len(events), 0.5), events.challenger.astype(bool)
    )


def _slow(rows: pd.DataFrame, look: Look, watch: WatchRules) -> Events:
    """Requests slower than the champion's frozen p95; for the challenger, slower by more than a tolerance."""
    bound = look.slow_ms if look.slow_ms is not None else pace(rows, look.champion, look.needed)
    if bound is None:
        return Events()
    ours, theirs = (_of(rows.milliseconds, version) for version in (look.challenger, look.champion))
    return _events(rows, ours > bound + watch.slow_tolerance_ms, theirs > bound)


def _of(values: pd.Series, version: str) -> pd.Series:
    """The numbers of one version, NaN where it has none."""
    return pd.to_numeric(values.map(lambda by_version: by_version.get(version)), errors="coerce").astype(float)


def _split(rows: pd.DataFrame, look: Look) -> tuple[SplitCount, ...]:
    """Entities of the log, by the stage in which they first appeared and the arm that they were assigned to.

    Stages that send all or no entities to the challenger do not count, since they draw no arm. A version that fails
    moves no entity to the other arm, so an implausible ratio means that entities of one arm are missing from the log.
    """
    draws = {plan.version: plan.share for plan in look.plans if 0 < plan.share < 1}
    first_rows = rows[rows.plan.isin(draws)].drop_duplicates("entity")
    counts = []
    for version, share in draws.items():
        ours = first_rows.assigned[first_rows.plan == version] == look.challenger
        counts.append(SplitCount(share, int(ours.sum()), int((~ours).sum())))
    return tuple(counts)


def _find_misrouted(rows: pd.DataFrame, look: Look) -> pd.Series:
    """Rows that were answered by a version other than the assigned one, although that one did not fail."""
    available = rows.theirs.notna() & ~rows.champion_failed
    available = available.where(rows.assigned == look.champion, rows.ours.notna() & ~rows.failed)
    return (rows.served != rows.assigned) & (available | ~rows.served.isin([look.champion, look.challenger]))


def _flags(rows: pd.DataFrame, look: Look, watch: WatchRules) -> Flags:
    scored = rows[rows.scores.map(lambda scores: look.challenger in scores).astype(bool) & ~rows.failed]
    numbers = scored.ours[np.isfinite(scored.ours)]
    due = rows[rows.closes.fillna(rows.due) <= look.now]
    newest = rows.known_at.max()
    stale = len(due) > 0 and (pd.isna(newest) or look.now - newest > timedelta(hours=watch.max_label_age_hours))
    missing_scores = len(rows) - len(scored) - int(rows.failed.sum())
    refusals = [
        message for message in rows.errors.map(lambda errors: errors.get(look.challenger, "")) if NO_SCORE in message
    ]
    outside = [message for message in refusals if "nan" not in message and "inf" not in message]
    return Flags(
        nan_output=len(numbers) < len(scored) or len(outside) < len(refusals),
        out_of_range_output=bool(((numbers < 0) | (numbers > 1)).any()) or bool(outside),
        constant_output=len(numbers) >= watch.constant_after and numbers.nunique() == 1,
        missing_data=missing_scores > watch.max_unscored_share * len(rows)
        or (len(due) > 0 and bool(due.label.notna().mean() < watch.min_labelled_share)),
        stale_labels=bool(stale),
        stale_decision=look.in_force.stage != look.stage,
        misrouted=bool(_find_misrouted(rows, look).any()),
        prediction_shift=bool((rows.ours - rows.theirs).abs().mean() > watch.max_mean_shift),
        missing_inputs=look.missing_inputs,
    )
