"""Calls that wait for their answer: which of their requests are new, and how they are logged."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.records import Prediction
from pipelines.serving.schemas import Refusal
from pipelines.usecase import Block, Request, UseCase

LONGEST = 128  # characters of what the log keeps as a key
YEARS = range(1970, 2200)  # in which blocks close: the judge counts nanoseconds since 1970


@dataclass(frozen=True)
class NewRequest:
    """A request that is to be scored.

    Attributes:
        number: its position in the call.
        values: as the request model has them.
        body: as JSON has them.
        at: the instant for which it is predicted.
    """

    number: int
    identity: str
    values: Request
    body: Request
    entity: str
    block: Block
    at: datetime


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
        self.bodies: list[Request] = [item.model_dump(mode="json", exclude={"id"}) for item in self.items]
        self._repetitions = _find_repetitions(self.ids, self.bodies)
        self._earlier: dict[str, Prediction] = {}

    def prepare(self, usecase: UseCase, earlier: Mapping[str, Prediction], at: datetime) -> None:
        """Find the new requests, given the logged predictions by id.

        Raises:
            Refusal: 409 if an id was used for another request, 422 if one cannot be logged.
        """
        self._earlier = {identity: earlier[identity] for identity in self.ids if identity and identity in earlier}
        for n, identity in enumerate(self.ids):
            if identity in self._earlier:
                _require_same(n, self._earlier[identity], self.bodies[n])
        self.new = [
            self._new(usecase, n, at)
            for n, identity in enumerate(self.ids)
            if identity not in self._earlier and n not in self._repetitions
        ]

    def _new(self, usecase: UseCase, n: int, at: datetime) -> NewRequest:
        item = self.items[n]
        values = {name: getattr(item, name) for name in usecase.request_columns}
        identity = self.ids[n] or uuid.uuid4().hex
        block = _block(usecase, n, values, at) or Block(identity, at)
        return NewRequest(n, identity, values, self.bodies[n], _entity(usecase, n, values), block, at)

    def answers(self, logged: Sequence[Prediction]) -> list[Prediction]:
        """The predictions of all requests in their order, given those of the new ones.

        Raises:
            Refusal: 409 if another call has used an id for another request meanwhile.
        """
        for request, prediction in zip(self.new, logged, strict=True):
            _require_same(request.number, prediction, request.body)
        fresh = {request.number: prediction for request, prediction in zip(self.new, logged, strict=True)}
        return [
            self._earlier[identity] if identity in self._earlier else fresh[self._repetitions.get(n, n)]
            for n, identity in enumerate(self.ids)
        ]


def _entity(usecase: UseCase, n: int, values: Request) -> str:
    entity = usecase.split_key(values)
    if not _is_key(entity):
        raise Refusal(422, f"request {n}: {entity[:40]!r}, by which traffic is split, must be 1 to 128 characters")
    return entity


def _block(usecase: UseCase, n: int, values: Request, at: datetime) -> Block | None:
    """The block that the use case gives to a request, or None where it is a block of its own."""
    match usecase.block(values, at):
        case None:
            return None
        case (str(name), datetime() as closes_at) if _is_key(name) and _is_instant(closes_at):
            return Block(name, closes_at)
        case other:
            raise Refusal(
                422,
                f"request {n}: `block` of the use case {usecase.name} gives {repr(other)[:120]}; it must give "
                "None, or a Block with a name of 1 to 128 printable characters and an instant of the years "
                f"{YEARS.start} to {YEARS.stop - 1} with a time zone",
            )


def _is_key(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text.isprintable()


def _is_instant(instant: datetime) -> bool:
    return instant.utcoffset() is not None and instant.year in YEARS


def _find_repetitions(ids: Sequence[str | None], bodies: Sequence[Request]) -> dict[int, int]:
    """For each request whose id occurs earlier in the same call: its position, and that of the first occurrence."""
    first: dict[str, int] = {}
    repetitions = {}
    for n, identity in enumerate(ids):
        if identity is not None and (position := first.setdefault(identity, n)) != n:
            if bodies[position] != bodies[n]:
                raise _id_in_use(n, identity)
            repetitions[n] = position
    return repetitions


def _require_same(n: int, logged: Prediction, body: Request) -> None:
    if dict(logged.request) != dict(body):
        raise _id_in_use(n, logged.prediction_id)


def _id_in_use(n: int, identity: str) -> Refusal:
    return Refusal(409, f"request {n}: the id {identity!r} was used for another request; send a new one")
