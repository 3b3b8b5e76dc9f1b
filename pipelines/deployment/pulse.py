"""Whether a waiting stage should be judged again; cheap enough for every second."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from pipelines.deployment.completeness import completeness
from pipelines.errors import CheckFailed

if TYPE_CHECKING:
    from pipelines.context import Context


def pulse(rollout: str, context: Context) -> str:
    """A text that changes when the judge may answer differently.

    It changes when the plan changes, the labels of a block have matured, a minimum or maximum of time passes, an error
    is logged, a writer of the log has been silent for long, or the number of requests passes `look_every`, twice, four
    times, eight times that number. Blocks of single requests would change it at every second, so they are counted in
    steps of `look_every`, each at least a sixteenth of their number: sufficient evidence waits for an eighth more
    at most.
    """
    usecase, settings, complete = context.usecase, context.params.rollout, completeness(context)
    now = complete.until
    plan = context.plans.current()
    if plan is None or plan.rollout != rollout or not plan.stage:
        return f"plan {plan.version if plan else 0}"
    began = context.rollouts.require(rollout).began_at
    stage = settings.stages[settings.names.index(plan.stage)]
    versions = [one.version for one in context.plans.of(rollout)]
    seen = context.predictions.progress(versions, complete.known_by, now - usecase.maturity)
    long_enough = now >= plan.since + timedelta(hours=stage.min_hours)
    out_of_time = now > began + timedelta(days=settings.judge.max_days)
    doublings = (seen.predictions // settings.look_every).bit_length()
    text = f"{plan.version} {seen.blocks} {long_enough} {out_of_time} {seen.failed} {doublings}"
    steps = coarse(seen.alone // settings.look_every)
    return " ".join((text, *([str(steps)] if steps else []), *complete.late))


def coarse(count: int, digits: int = 4) -> int:
    """A count rounded down to its leading binary digits: exact below 2**digits, then in steps of 2, 4, 8."""
    shift = max(0, count.bit_length() - digits)
    return count >> shift << shift


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
