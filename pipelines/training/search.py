"""Tuning: seeded random draws from the declared ranges (Bergstra & Bengio 2012), judged by validation log loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import ValidationError

from pipelines.errors import CheckFailed, InvalidInput
from pipelines.params import first_problem
from pipelines.params.training import Range


class Searchable(Protocol):
    @property
    def search(self) -> Mapping[str, Range]: ...

    def model_dump(self) -> dict[str, Any]: ...

    @classmethod
    def model_validate(cls, obj: Any) -> Any: ...


Settings = TypeVar("Settings", bound=Searchable)


def draw(settings: Settings, trial: int, seed: int) -> Settings:
    """The settings of one trial: the declared ones for trial 0, else a draw that depends on `seed` and `trial` alone.

    Raises:
        InvalidInput: if a range holds values that the setting does not take.
    """
    if trial == 0:
        return settings
    generator = np.random.default_rng([abs(seed), trial])
    drawn = {name: value_within(settings.search[name], generator.random()) for name in sorted(settings.search)}
    try:
        return type(settings).model_validate({**settings.model_dump(), **drawn})  # type: ignore[no-any-return]
    except ValidationError as error:
        raise InvalidInput(f"a draw from `search` cannot be used: {first_problem(error)}; narrow the range") from None


def value_within(allowed: Range, position: float) -> float | int:
    """The value at `position`, in [0, 1), of a range."""
    if allowed.log:
        value = allowed.low * (allowed.high / allowed.low) ** position
    else:
        value = allowed.low + (allowed.high - allowed.low) * position
    value = float(min(max(value, allowed.low), allowed.high))
    return round(value) if allowed.integer else value


def best_trial(losses: Sequence[float]) -> int:
    """The first trial with the lowest finite loss.

    Raises:
        CheckFailed: if none is finite.
    """
    finite = [(loss, trial) for trial, loss in enumerate(losses) if np.isfinite(loss)]
    if not finite:
        raise CheckFailed(f"none of {len(losses)} trials has a finite validation log loss; look at the training set")
    return min(finite)[1]
