"""`behaviour` of params.yaml: what a candidate must do besides scoring well (Ribeiro et al. 2020), declared as data."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipelines.params.gates import Score
from pipelines.params.section import Natural, Section, Share

Value = str | float
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=60)]


class Change(Section):
    """What is done to an input in every row: exactly one of these. A missing number stays missing but for `set`."""

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
    """Attributes: where: rows that count, by column and its value; all rows where it is empty."""

    name: Name
    where: dict[str, Value] = Field(default_factory=dict)


class Changing(Behaviour):
    change: Annotated[dict[str, Change], Field(min_length=1)]


class Invariance(Changing):
    """The change moves no score by more than `tolerance`, but for `max_share` of the rows."""

    kind: Literal["invariance"]
    tolerance: Share
    max_share: Share = 0.0


class Direction(Changing):
    """The change moves the mean score up (or down), or at most `tolerance` the other way."""

    kind: Literal["direction"]
    moves: Literal["up", "down"]
    tolerance: Share = 0.0


class Minimum(Behaviour):
    """A metric on the rows reaches a bar."""

    kind: Literal["minimum"]
    bar: Score
    min_rows: Natural = 1


def _named_once(declared: tuple[Behaviour, ...]) -> tuple[Behaviour, ...]:
    twice = sorted(name for name, n in Counter(one.name for one in declared).items() if n > 1)
    if twice:
        raise ValueError(f"{', '.join(twice)} stands twice; give each behaviour a name of its own")
    return declared


Declared = Annotated[Invariance | Direction | Minimum, Field(discriminator="kind")]
Behaviours = Annotated[tuple[Declared, ...], AfterValidator(_named_once)]
