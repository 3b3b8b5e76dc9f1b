"""Whether a waiting stage should be judged again, and whether an alias has moved: cheap enough to ask every second."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from pipelines.deployment import state
from pipelines.deployment.evidence import last_closed
from pipelines.deployment.rows import progress
from pipelines.errors import CheckFailed

if TYPE_CHECKING:
    from pipelines.context import Context

BY_HAND = "out-of-band"


def pulse(rollout: str, context: Context) -> str:
    """A text that changes when the judge may answer differently.

    That is when the plan changes, a block closes, a minimum or maximum of time passes, an error is logged, or
    requests have become `look_every`, twice, four times as many.
    """
    usecase, settings, now = context.usecase, context.params.rollout, context.clock.now()
    rollouts = context.records.rollouts(usecase.name)
    plan = rollouts.plan()
    if plan is None or plan.rollout != rollout or not plan.stage:
        return f"plan {plan.version if plan else 0}"
    began = state.require(rollouts, rollout).at
    stage = settings.stages[settings.names.index(plan.stage)]
    versions = [one.version for one in rollouts.plans(rollout)]
    closed = last_closed(now, usecase.timezone, usecase.maturity)
    rows, failed, blocks = progress(context.records.engine, usecase.name, versions, now, closed)
    long_enough = now >= plan.since + timedelta(hours=stage.min_hours)
    out_of_time = now > began + timedelta(days=settings.judge.max_days)
    return f"{plan.version} {blocks} {long_enough} {out_of_time} {failed} {(rows // settings.look_every).bit_length()}"


def goes_on(context: Context, patience: float = 300) -> bool:
    """Whether a rollout is in force, told once the judge has held on all there is to see; for whoever drives the clock.

    Raises:
        CheckFailed: if the judge does not look for `patience` seconds.
    """
    name, deadline = context.usecase.name, time.monotonic() + patience
    while True:
        plan = context.records.rollouts(name).plan()
        if plan is None or plan.challenger is None:
            return False
        newest, now = context.records.newest_decisions(name, plan.rollout), pulse(plan.rollout, context)
        if any(one["verdict"] == "HOLD" and one["evidence"]["pulse"] == now for one in newest):
            return True
        if time.monotonic() > deadline:
            raise CheckFailed(
                f"nobody has judged rollout {plan.rollout} for {patience:.0f} s; look at the deployment DAG, or end it "
                "with `flightdeck rollout abort`"
            )
        time.sleep(0.1)


def unnoted(alias: str, context: Context) -> str | None:
    """The version ("" for none) that an alias points to, where the records say otherwise; None where they agree."""
    version, last = context.models.aliases().get(alias, ""), context.records.rollouts(context.usecase.name).alias(alias)
    return version if version != (last[1] if last else "") else None


def alias_news(alias: str, context: Context) -> dict[str, object] | None:
    """The change of an alias that a person made, told to one of all who ask; None where there is none.

    A removal is noted and is no news: the same version set again afterwards is.
    """
    version = context.models.aliases().get(alias, "")
    change = _note(alias, version, context)
    return {"alias": alias, "version": version, "change": change} if change is not None and version else None


def missed_news(alias: str, context: Context) -> dict[str, object] | None:
    """The last change that a person made, where nothing has been begun for it: it may have been told to nobody."""
    last = context.records.rollouts(context.usecase.name).unclaimed(alias)
    if last is None or last[2] != BY_HAND or not last[1]:
        return None
    return {"alias": alias, "version": last[1], "change": last[0]}


def _note(alias: str, version: str, context: Context) -> int | None:
    rollouts = context.records.rollouts(context.usecase.name)
    if not version and rollouts.alias(alias) is None:
        return None
    return state.note(context, alias, version, BY_HAND)
