"""Inputs missing in more requests of a rollout than in training: two models without inputs look equal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.records import Prediction

SAMPLE = 1000  # the stage's newest requests, of which the shares are computed
ENOUGH = 50  # requests with features; with fewer no input is named
SURE = 3.0  # standard errors that a share must lie above its bound


def missing_more_often(newest: Sequence[Prediction], expected: Mapping[str, float], rise: float) -> tuple[str, ...]:
    """The inputs whose share of requests without a value exceeds the expected one by more than `rise`, worst first.

    Args:
        newest: predictions; those without features in the log are left out.
        expected: by column, the share of rows of the challenger's test window without a value. Columns that no
            prediction has among its features are no inputs, and are left out.
    """
    logged = [one.features for one in newest if one.features]
    if len(logged) < ENOUGH:
        return ()
    exceeding = []
    for name, before in expected.items():
        if not any(name in features for features in logged):
            continue
        share = sum(features.get(name) is None for features in logged) / len(logged)
        error = math.sqrt(max(share * (1 - share), 1 / len(logged)) / len(logged))
        if share - SURE * error > before + rise:
            exceeding.append((share - before, f"{name} in {share:.0%} (before {before:.0%})"))
    return tuple(text for _, text in sorted(exceeding, key=lambda one: (-one[0], one[1])))
