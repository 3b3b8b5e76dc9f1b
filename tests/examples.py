"""The number of examples of random tests: few in `make test`, many in `make soak`, set in this module only.

Tests with Hypothesis follow its profile; tests with their own random draws are parametrized by `seeds`.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

QUICK, SOAK = "quick", "soak"
EXAMPLES = {QUICK: 40, SOAK: 1000}
COSTLY = 12  # this many times fewer, where an example takes a tenth of a second or more

for name, examples in EXAMPLES.items():
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,  # machines are busy
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def costly() -> settings:
    """Settings of a test whose every example takes long, for the profile in force."""
    profile = settings.default
    assert profile is not None
    return settings(max_examples=profile.max_examples // COSTLY)


def seeds(quick: int, soak: int) -> list[Any]:
    """Seeds to parametrize a test with: the first few always run, the rest are marked `soak`."""
    return [*range(quick), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(quick, soak))]
