"""Begin a rollout for a version, once for each change of the alias, whichever way the change is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.deployment.continuation import Continuation
from pipelines.errors import CheckFailed
from pipelines.steps import RunName, StepModel

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.records import Rollout
    from pipelines.tracking.version import ModelVersion

FIRST = "the first model: it passed preflight, and there is no champion"  # why it is promoted, once it has passed


class Inputs(StepModel):
    version: str = Field(min_length=1, description="registered version that challenges")
    change: int | None = Field(
        None, description="number of the alias change that named it; none: set the alias as a person would"
    )
    actor: str = Field(min_length=1, max_length=64, description="who or what asks for it")
    run: RunName = Field(description="name of the rollout")


class Outputs(Continuation):
    rollout: str
    proceed: bool
    why: str
    champion: str | None
    challenger: str
    direct: bool = Field(description="there is no champion yet: after preflight the version takes all traffic")


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.deployment.override import honour
    from pipelines.records import CHALLENGER, CHAMPION

    if earlier := context.rollouts.get(inputs.run):
        return _again(earlier, _outputs(inputs, earlier.ending is None, "", earlier.champion))
    challenger = context.models.require(inputs.version)
    honour(context)
    plan = context.plans.current()
    alias_version = context.models.aliases().get(CHAMPION)
    champion = plan.champion if plan else (alias_version if alias_version != inputs.version else None)
    if champion is not None and getattr(context.usecase, "influences_labels", False):
        raise CheckFailed(
            f"{context.usecase.name} declares that its predictions influence its labels (`influences_labels`): scoring "
            "the same requests with both versions then compares nothing, and there is no comparison of separate "
            f"requests yet. Compare them outside, and then set alias {CHAMPION} to version {inputs.version} by hand"
        )
    change = inputs.change if inputs.change is not None else _set_alias(inputs, context)
    if (last := context.aliases.last(CHALLENGER)) and last[0] != change:
        return _outputs(inputs, False, f"alias {CHALLENGER} has moved on to version {last[1] or 'none'} since")
    if other := context.rollouts.under_way():
        if other.change == change:
            return _outputs(inputs, False, f"rollout {other.name} has begun for this change of the alias")
        raise CheckFailed(
            f"rollout {other.name} of version {other.version} is under way; let it end, or end it with "
            "`flightdeck rollout abort`, and run this again"
        )
    if champion == inputs.version:
        return _outputs(inputs, False, f"version {inputs.version} is the champion already")
    expected = _begin(inputs, context, change, champion, challenger)
    if expected is None:
        why = f"change {change} of alias {CHALLENGER} has had its rollout, or does not exist"
        return _outputs(inputs, False, why)
    why = f"version {inputs.version} against champion {champion}. {expected}" if champion else expected
    return _outputs(inputs, True, why, champion)


def _outputs(inputs: Inputs, proceed: bool, why: str, champion: str | None = None) -> Outputs:
    direct = proceed and champion is None
    return Outputs(
        next_stage=proceed and not direct,
        ending="promote" if direct else None,
        reason=FIRST if direct else why,
        decision_id=None,
        rollout=inputs.run,
        proceed=proceed,
        why=why,
        champion=champion,
        challenger=inputs.version,
        direct=direct,
    )


def _begin(inputs: Inputs, context: Context, change: int, champion: str | None, challenger: ModelVersion) -> str | None:
    """Record that the rollout begins and claim the champion's alias for it.

    Returns:
        Its expected duration; None if the change cannot be claimed.
    """
    from pipelines.deployment.baseline import freeze
    from pipelines.deployment.expect import advice
    from pipelines.records import CHAMPION, Rollout

    rollout = Rollout(
        name=inputs.run,
        version=inputs.version,
        champion=champion,
        change=change,
        began_at=context.clock.now(),
        baseline=freeze(context, champion, challenger),
    )
    expected = advice(rollout.baseline, context.params.rollout) if champion else "the first model: no champion yet"
    if not context.rollouts.begin(rollout, inputs.actor, expected):
        return None
    if (last_change := context.aliases.last(CHAMPION)) and last_change[1] == champion:
        context.aliases.claim(CHAMPION, last_change[0], inputs.run)
    return expected


def _again(earlier: Rollout, outputs: Outputs) -> Outputs:
    """The outputs of a retry."""
    why = f"the rollout has ended: {earlier.ending.action}" if earlier.ending else "the rollout has begun already"
    return outputs.model_copy(update={"why": why})


def _set_alias(inputs: Inputs, context: Context) -> int:
    """Set the alias to the version, unless it names it already, and give the number of the change."""
    from pipelines.deployment.state import note
    from pipelines.records import CHALLENGER

    if context.models.aliases().get(CHALLENGER) != inputs.version:
        context.models.set_alias(CHALLENGER, inputs.version)
    note(context, CHALLENGER, inputs.version, inputs.actor, f"rollout {inputs.run} was requested")
    last = context.aliases.last(CHALLENGER)
    return last[0] if last and last[1] == inputs.version else 0
