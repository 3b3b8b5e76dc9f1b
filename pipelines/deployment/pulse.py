"""Whether a waiting stage should be judged again; cheap enough for every second."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from pipelines.deployment.evidence import last_closed
from pipelines.errors import CheckFailed

if TYPE_CHECKING:
    from pipelines.context import Context


def pulse(rollout: str, context: Context) -> str:
    """A text that changes when the judge may answer differently.

    It changes when the plan changes, a block closes, a minimum or maximum of time passes, an error is logged, or the
    number of requests passes `look_every`, twice, four times, eight times that number.
    """
    usecase, settings, now = context.usecase, context.params.rollout, context.clock.now()
    plan = context.plans.current()
    if plan is None or plan.rollout != rollout or not plan.stage:
        return f"plan {plan.version if plan else 0}"
    began = context.rollouts.require(rollout).began_at
    stage = settings.stages[settings.names.index(plan.stage)]
    versions = [one.version for one in context.plans.of(rollout)]
    closed = last_closed(now, usecase.timezone, usecase.maturity)
    rows, failures, blocks = context.predictions.progress(versions, now, closed)
    long_enough = now >= plan.since + timedelta(hours=stage.min_hours)
    out_of_time = now > began + timedelta(days=settings.judge.max_days)
    return (
        f"{plan.version} {blocks} {long_enough} {out_of_time} {failures} {(rows // settings.look_every).bit_length()}"
    )


def goes_on(context: Context, patience: float = 300) -> bool:
    """Whether a rollout is in force. Waits until the judge has held on the present evidence; for drivers of the clock.

    Raises:
        CheckFailed: if the judge does not look for `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        plan = context.plans.current()
        if plan is None or plan.challenger is None:
            return False
        newest, now = context.decisions.newest_on(plan.rollout), pulse(plan.rollout, context)
        if any(one["verdict"] == "HOLD" and one["evidence"]["pulse"] == now for one in newest):
            return True
        if time.monotonic() > deadline:
            raise CheckFailed(
                f"nobody has judged rollout {plan.rollout} for {patience:.0f} s; look at the deployment DAG, or end it "
                "with `flightdeck rollout abort`"
            )
        time.sleep(0.1)
