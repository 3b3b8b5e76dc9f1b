"""The expected duration of a rollout, from its baseline: days to a decision, and whether they exceed the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.judge.plan import Plan
    from pipelines.params.rollout import RolloutRules
    from pipelines.records import Baseline


def expectation(baseline: Baseline, settings: RolloutRules) -> Plan | None:
    """The plan of a rollout; None where there is no champion, or the pair's scatter is not known."""
    from pipelines.deployment.foretold import Foretold
    from pipelines.judge import Rules
    from pipelines.judge.plan import Pair, plan

    foretold = Foretold.model_validate(baseline.foretold or {})
    if foretold.scatter is None or baseline.champion_loss is None:
        return None
    rules = Rules(**settings.judge.model_dump(), stages=settings.stages)
    return plan(
        Pair(foretold.scatter, foretold.long_run, baseline.champion_loss, foretold.row_reach),
        rules,
        horizon=max(1.0, foretold.blocks_per_day * settings.judge.max_days),
        blocks_per_day=foretold.blocks_per_day,
    )


def advice(baseline: Baseline, settings: RolloutRules) -> str:
    """One sentence of advice; where the pair's scatter is not known, the reason."""
    from pipelines.deployment.foretold import Foretold

    expected = expectation(baseline, settings)
    ramp = sum(stage.min_hours for stage in settings.stages) / 24
    if expected is not None:
        least = f" Half of all rollouts take longer, and the ramp alone takes {ramp:g} days before labels mature."
        never = f" But the ramp alone takes {ramp:g} days: none can end in time."
        return expected.advice() + (least if ramp < settings.judge.max_days else never)
    unknown = "it began before the scatter of its pair was kept" if baseline.champion_uri else "there is no champion"
    why = Foretold.model_validate(baseline.foretold or {}).why or unknown
    return f"How long the rollout takes cannot be told: {why}; its first blocks only tell how far the pair scatters."
