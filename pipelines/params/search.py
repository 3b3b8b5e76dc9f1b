"""Search spaces of `training` in params.yaml: the values that a trial may draw for a setting, and its conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Self

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, model_validator

from pipelines.params.section import Section


class Conditional(Section):
    """A setting that is drawn only if every choice in `when` has its value; otherwise the declared value holds."""

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
    """A choice from several values, of any type that the setting accepts."""

    choices: Annotated[tuple[Any, ...], Field(min_length=2)]


def _kind(value: Any) -> str:
    has_choices = "choices" in value if isinstance(value, Mapping) else isinstance(value, Choices)
    return "choices" if has_choices else "range"


SearchSpace = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(_kind),
]
Search = dict[str, SearchSpace]


def drawing_order(search: Mapping[str, Range | Choices]) -> list[str]:
    """The names in order, each after the names in its condition.

    Raises:
        ValueError: if a condition names a setting that is not searched by `choices` or a value that it never has, or if
            conditions form a cycle.
    """
    for name, space in search.items():
        for other, value in space.when.items():
            condition = search.get(other)
            if not isinstance(condition, Choices):
                raise ValueError(f"search.{name}.when names {other!r}, which is not searched by `choices`")
            if value not in condition.choices:
                raise ValueError(f"search.{name}.when wants {other} to be {value!r}, which is not one of its choices")
    sorter = TopologicalSorter({name: sorted(search[name].when) for name in sorted(search)})
    try:
        return list(sorter.static_order())
    except CycleError as error:
        raise ValueError(f"search: conditions form a cycle: {' -> '.join(error.args[1])}") from None


def require_drawable(settings: BaseModel, search: Mapping[str, Range | Choices]) -> None:
    """Check that settings accept both ends of every range, and every choice.

    Constraints between settings can only be checked on a draw.

    Raises:
        ValueError: naming the setting, the value and the reason.
    """
    values = settings.model_dump(exclude={"search"})
    for name, space in search.items():
        for value in _samples(space):
            try:
                type(settings).model_validate({**values, name: value})
            except ValidationError as error:
                own = [one for one in error.errors() if one["loc"][:1] == (name,)]
                if own and isinstance(space, Range) and own[0]["type"] == "int_from_float":
                    raise ValueError(f"search.{name} takes whole numbers; add integer: true") from None
                if own:
                    raise ValueError(f"search.{name} cannot be {value!r}: {own[0]['msg']}") from None


def _samples(space: Range | Choices) -> tuple[Any, ...]:
    if isinstance(space, Choices):
        return space.choices
    if space.integer:
        return int(space.low), int(space.high)
    return space.low, space.high, math.nextafter(space.low, space.high)  # the last is not a whole number
