"""Calls that wait for their answer: which of their requests are new, and how they are logged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel

from pipelines.instants import micros
from pipelines.records import Prediction
from pipelines.serving.schemas import Refusal
from pipelines.usecase import Request, UseCase

ID = {"id"}
LONGEST = 128  # characters of what the log keeps as a key
YEARS = range(1970, 2200)  # in which blocks close: the judge counts nanoseconds since 1970


class Answered(msgspec.Struct, omit_defaults=True):
    """The answer to a request, as `PredictionAnswer` of the schemas; None as `further` is left out."""

    id: str
    score: float | None
    decision: bool | None
    lacks: str | None
    version: str
    plan: int
    further: Mapping[str, float | None] | None = None

    @classmethod
    def of(cls, logged: Prediction) -> Answered:
        said = (logged.score, logged.decision, logged.lacks, logged.served, logged.plan)
        return cls(logged.prediction_id, *said, logged.further)


class NewRequest(NamedTuple):
    """A request that is to be scored.

    Attributes:
        number: its position in the call.
        values: as the request model has them.
        body: JSON.
        entity: by which traffic is split.
        block: the name of its dependence block.
        closes_at: of the block, microseconds since 1970.
    """

    number: int
    identity: str
    values: Request
    body: str
    entity: str
    block: str
    closes_at: int


@dataclass
class Call:
    """A call whose items are valid.

    Attributes:
        new: the requests that are to be scored: in no log, and no repetition of another one of the call.
    """

    items: Sequence[Any]
    new: list[NewRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids: list[str | None] = [item.id for item in self.items]
        self.named = [identity for identity in self.ids if identity is not None]
        self._repetitions = _find_repetitions(self.ids, self.items) if len(self.named) > 1 else {}
        self._earlier: dict[int, Prediction] = {}
        self._given: list[str] = []  # ids of ours, for each request: a run that is made again has the same

    def prepare(self, usecase: UseCase, earlier: Mapping[str, Prediction], at: datetime, ids: Iterator[str]) -> None:
        """Find the new requests, given the logged predictions by id.

        Args:
            ids: unused ones, of which it takes as many as it has items.

        Raises:
            Refusal: 409 if an id was used for another request, 422 if one cannot be logged.
        """
        if self.named:
            self._earlier = {n: earlier[one] for n, one in enumerate(self.ids) if one and one in earlier}
            for n, prediction in self._earlier.items():
                _require_same(n, prediction, _body(self.items[n]))
        self._given = self._given or [*islice(ids, len(self.items))]
        answered = self._earlier.keys() | self._repetitions.keys() if self.named else ()
        self.new = []
        for n, (item, given) in enumerate(zip(self.items, self._given, strict=True)):
            if n not in answered:
                identity, values = item.id or given, item.__dict__
                block = usecase.block(values, at)
                name, closes_at = (identity, _micros(at)) if block is None else _checked(block, usecase, n)
                entity = usecase.split_key(values)
                if not _is_key(entity):
                    raise _no_entity(n, entity)
                self.new.append(NewRequest(n, identity, values, _body(item), entity, name, closes_at))

    def require_same(self, logged: Sequence[Prediction]) -> None:
        """Check that the predictions of the new requests are of these requests.

        Raises:
            Refusal: 409 if another call has used an id for another request meanwhile.
        """
        for request, prediction in zip(self.new, logged, strict=True):
            _require_same(request.number, prediction, request.body)

    def answers(self, new: Sequence[Answered]) -> list[Answered]:
        """The answers to all requests in their order, given those to the new ones."""
        if len(new) == len(self.items):
            return [*new]
        fresh = {request.number: answer for request, answer in zip(self.new, new, strict=True)}
        return [
            Answered.of(self._earlier[n]) if n in self._earlier else fresh[self._repetitions.get(n, n)]
            for n in range(len(self.items))
        ]


def unused_ids(count: int, at: datetime) -> Iterator[str]:
    """Ids: by time, so that a database writes neighbours to one page; the rest is not to be guessed."""
    time, random = f"{micros(at):014x}", os.urandom(9 * count).hex()
    return (time + random[n : n + 18] for n in range(0, len(random), 18))


_micros = lru_cache(maxsize=4096)(micros)


def _body(item: BaseModel) -> str:
    """The request as JSON, without the id."""
    return item.__pydantic_serializer__.to_json(item, exclude=ID).decode()


def _no_entity(n: int, entity: str) -> Refusal:
    return Refusal(422, f"request {n}: {entity[:40]!r}, by which traffic is split, must be 1 to 128 characters")


def _checked(block: Any, usecase: UseCase, n: int) -> tuple[str, int]:
    """The block that the use case gives to a request, with its end in microseconds since 1970."""
    try:
        name, closes_at = block
        closes = _valid_end(name, closes_at, closes_at.fold)
    except (AttributeError, TypeError, ValueError):  # it is no pair, or of something else
        closes = None
    if closes is not None:
        return name, closes
    raise Refusal(
        422,
        f"request {n}: `block` of the use case {usecase.name} gives {repr(block)[:120]}; it must give "
        "None, or a Block with a name of 1 to 128 printable characters and an instant of the years "
        f"{YEARS.start} to {YEARS.stop - 1} with a time zone",
    )


def _is_key(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text.isprintable()


@lru_cache(maxsize=4096)  # many requests are of one block
def _valid_end(name: Any, closes_at: Any, _: int) -> int | None:
    """The end of a block in microseconds since 1970; None if it is no block's. Equal ends may differ in their fold."""
    if not isinstance(name, str) or not isinstance(closes_at, datetime) or not _is_key(name):
        return None
    return micros(closes_at) if closes_at.utcoffset() is not None and closes_at.year in YEARS else None


def _find_repetitions(ids: Sequence[str | None], items: Sequence[BaseModel]) -> dict[int, int]:
    """For each request whose id occurs earlier in the same call: its position, and that of the first occurrence."""
    first: dict[str, int] = {}
    repetitions = {}
    for n, identity in enumerate(ids):
        if identity is not None and (position := first.setdefault(identity, n)) != n:
            if _body(items[position]) != _body(items[n]):
                raise _id_in_use(n, identity)
            repetitions[n] = position
    return repetitions


def _require_same(n: int, logged: Prediction, body: str) -> None:
    if dict(logged.request) != json.loads(body):
        raise _id_in_use(n, logged.prediction_id)


def _id_in_use(n: int, identity: str) -> Refusal:
    return Refusal(409, f"request {n}: the id {identity!r} was used for another request; send a new one")
