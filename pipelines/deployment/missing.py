"""Which inputs are missing in more requests of a rollout than in training: two starved models look equal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.records import Prediction

SAMPLE = 1000  # newest requests of the stage that are looked at
ENOUGH = 50  # of them, to say anything
SURE = 3.0  # standard errors by which a share of so few must pass its bound


def risen(newest: Sequence[Prediction], known: Mapping[str, float], rise: float) -> tuple[str, ...]:
    """The inputs that are missing or stale in more than their known share of requests plus `rise`, the worst first.

    Args:
        newest: predictions whose features are in the log; the others say nothing.
        known: the share of rows of the challenger's test window in which a column was missing; of inputs, and others,
            which are not looked at.
    """
    told = [one.features for one in newest if one.features]
    if len(told) < ENOUGH:
        return ()
    found = []
    for name, share in known.items():
        if not any(name in features for features in told):
            continue
        seen = sum(features.get(name) is None for features in told) / len(told)
        error = math.sqrt(max(seen * (1 - seen), 1 / len(told)) / len(told))
        if seen - SURE * error > share + rise:
            found.append((seen - share, f"{name} in {seen:.0%} (before {share:.0%})"))
    return tuple(text for _, text in sorted(found, key=lambda one: (-one[0], one[1])))
