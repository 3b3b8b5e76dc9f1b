"""Search spaces of `training` in params.yaml: what a trial may draw for a setting, and when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Self

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, model_validator

from pipelines.params.section import Section


class Conditional(Section):
    """Drawn only in trials in which every named choice has the given value; else the declared value holds."""

    when: dict[str, Any] = Field(default_factory=dict)


class Range(Conditional):
    """A search range: uniform, or log-uniform, over [low, high]."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high <= self.low or (self.log and self.low <= 0):
            raise ValueError("needs low < high, and low > 0 where log is true")
        if self.integer and not (self.low.is_integer() and self.high.is_integer() and (self.low >= 1 or not self.log)):
            raise ValueError("needs whole numbers where integer is true, from 1 where log is true too")
        return self


class Choices(Conditional):
    """One of some values, of any type that the setting takes."""

    choices: Annotated[tuple[Any, ...], Field(min_length=2)]


def _kind(value: Any) -> str:
    listed = "choices" in value if isinstance(value, Mapping) else isinstance(value, Choices)
    return "choices" if listed else "range"


Allowed = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(_kind),
]
Search = dict[str, Allowed]


def drawing_order(search: Mapping[str, Range | Choices]) -> list[str]:
    """The names, each after those that its condition is about, otherwise sorted.

    Raises:
        ValueError: if a condition names what is not searched by `choices`, a value it never takes, or itself in a ring.
    """
    for name, allowed in search.items():
        for other, value in allowed.when.items():
            said = search.get(other)
            if not isinstance(said, Choices):
                raise ValueError(f"search.{name}.when names {other!r}, which is not searched by `choices`")
            if value not in said.choices:
                raise ValueError(f"search.{name}.when wants {other} to be {value!r}, which is none of its choices")
    sorter = TopologicalSorter({name: sorted(search[name].when) for name in sorted(search)})
    try:
        return list(sorter.static_order())
    except CycleError as error:
        raise ValueError(f"search: conditions go round in a ring: {' -> '.join(error.args[1])}") from None


def require_drawable(settings: BaseModel, search: Mapping[str, Range | Choices]) -> None:
    """Hold both ends of every range, and every choice, against what the setting takes.

    What settings must be together is only known of a draw.

    Raises:
        ValueError: naming the setting, the value and why it cannot be.
    """
    declared = settings.model_dump(exclude={"search"})
    for name, allowed in search.items():
        for value in _samples(allowed):
            try:
                type(settings).model_validate({**declared, name: value})
            except ValidationError as error:
                own = [one for one in error.errors() if one["loc"][:1] == (name,)]
                if own and isinstance(allowed, Range) and own[0]["type"] == "int_from_float":
                    raise ValueError(f"search.{name} takes whole numbers; add integer: true") from None
                if own:
                    raise ValueError(f"search.{name} cannot be {value!r}: {own[0]['msg']}") from None


def _samples(allowed: Range | Choices) -> tuple[Any, ...]:
    if isinstance(allowed, Choices):
        return allowed.choices
    if allowed.integer:
        return int(allowed.low), int(allowed.high)
    return allowed.low, allowed.high, math.nextafter(allowed.low, allowed.high)  # the last is no whole number
