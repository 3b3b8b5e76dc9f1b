"""`behaviour` of params.yaml: behavioural tests of a candidate (Ribeiro et al. 2020), declared as data."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipelines.params.gates import Score
from pipelines.params.section import Natural, Section, Share

Value = str | float
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=60)]


class InputChange(Section):
    """A change of an input in every row: exactly one of these. Except for `set`, a missing number stays missing."""

    add: float | None = None
    scale: float | None = None
    set: Value | None = None
    shuffle: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum([self.add is not None, self.scale is not None, self.set is not None, self.shuffle]) != 1:
            raise ValueError("needs exactly one of add, scale, set, and shuffle: true")
        return self


class Behaviour(Section):
    """A behavioural test.

    Attributes:
        where: the rows to test, by column and its value; all rows if empty.
    """

    name: Name
    where: dict[str, Value] = Field(default_factory=dict)


class Changing(Behaviour):
    change: Annotated[dict[str, InputChange], Field(min_length=1)]


class Invariance(Changing):
    """The change moves no score by more than `tolerance`, except in `max_share` of the rows."""

    kind: Literal["invariance"]
    tolerance: Share
    max_share: Share = 0.0


class Direction(Changing):
    """The change moves the mean score up (or down), or by at most `tolerance` in the other direction."""

    kind: Literal["direction"]
    moves: Literal["up", "down"]
    tolerance: Share = 0.0


class Minimum(Behaviour):
    """A metric on the rows meets a bar."""

    kind: Literal["minimum"]
    bar: Score
    min_rows: Natural = 1


def _require_distinct_names(behaviours: tuple[Behaviour, ...]) -> tuple[Behaviour, ...]:
    twice = sorted(name for name, n in Counter(one.name for one in behaviours).items() if n > 1)
    if twice:
        raise ValueError(f"{', '.join(twice)} occurs twice; give each behaviour a name of its own")
    return behaviours


AnyBehaviour = Annotated[Invariance | Direction | Minimum, Field(discriminator="kind")]
Behaviours = Annotated[tuple[AnyBehaviour, ...], AfterValidator(_require_distinct_names)]
