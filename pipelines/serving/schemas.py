"""The schemas of requests and answers: envelopes, limits, and the form of refusals."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic import create_model as make_model

from pipelines.errors import FlightdeckError, InvalidInput
from pipelines.records import Plan
from pipelines.usecase import UseCase

Item = TypeVar("Item", bound=BaseModel)
Identity = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
RESERVED = ("id", "requests")
SELF_EXPLANATORY = ("missing", "extra_forbidden", "value_error", "too_short", "too_long")  # messages that need no value
SHOWN = 20  # problems listed in one refusal
KEYS = re.compile(rb'"[ \t\r\n]*:')  # matches each key of a JSON text once, and perhaps parts of its strings
REFERENCE = "#/components/schemas/{model}"  # where an OpenAPI document keeps its schemas


class Strict(BaseModel):
    """Strict JSON: no text for a number, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _zero_or_one(label: float) -> float:
    if label not in (0.0, 1.0):
        raise ValueError("a label is 0 or 1; send it once it is known")
    return label


class ReportedOutcome(Strict):
    """The outcome of a prediction."""

    id: Identity
    label: Annotated[float, AfterValidator(_zero_or_one), WithJsonSchema({"enum": [0, 1]})]


class PredictionAnswer(BaseModel):
    """The answer to one request, with the version that gave it and the routing plan.

    `decision` says whether the score reaches the threshold at which alarms of this version cost least; it is null of
    predictions that were made before decisions were kept. `lacks` says why stored features were left out, if some were:
    the online store did not answer, or a row of it was older than its view allows. `further` has, by name, what the
    version predicts besides the score: uncalibrated probabilities of other labels, null where one is no probability. It
    is left out where the version predicts nothing else.
    """

    id: str
    score: float
    decision: bool | None
    lacks: Literal["store", "stale"] | None
    version: str
    plan: int
    further: dict[str, float | None] = {}


class Answers(BaseModel):
    predictions: list[PredictionAnswer]


class Received(BaseModel):
    """How one outcome was handled."""

    id: str
    status: Literal["recorded", "repeated", "contradicts", "unknown"]


class Receipts(BaseModel):
    """How the outcomes of a call were handled."""

    outcomes: list[Received]


class Problem(BaseModel):
    """A problem of one field. `item` is null in a body of one item; `field` is empty where it is the whole item."""

    item: int | None
    field: str
    problem: str


class Failure(BaseModel):
    """Why a call was not served (RFC 9457); `detail` says what to do. Nothing was written, unless the server ends."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    problems: list[Problem] | None = None


class RefusedReceipts(Failure):
    """How the outcomes of a call were handled; `detail` is about the first one that could not be recorded."""

    outcomes: list[Received]


class RolloutState(BaseModel):
    plan: Plan | None


class Alive(BaseModel):
    status: Literal["ok"]


class Ready(BaseModel):
    """The plan that is served, whether each version is loaded, and why a version, or a newer plan, cannot serve."""

    ready: Literal[True]
    plan: int
    loaded: dict[str, bool]
    problems: list[str]


class Unready(Failure):
    ready: Literal[False]


class Refusal(FlightdeckError):
    """A call that cannot be served. Nothing was written.

    Attributes:
        status: of the HTTP response, 4xx or 503.
        more: members of the answer besides those of every failure, such as `problems` of single items.
    """

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status, self.more = status, more


class Later(Exception):
    """No answer: what it takes is late, and the call is to wait for it where no other one does."""


class Envelope(Generic[Item]):
    """A body that holds one item, or many under `key`, up to a limit."""

    def __init__(self, item: type[Item], key: str, limit: int) -> None:
        self.item, self.key, self.limit = item, key, limit
        many = Annotated[list[item], Field(min_length=1, max_length=limit)]  # type: ignore[valid-type]
        self._many = make_model(f"{item.__name__}s", __base__=Strict, **{key: (many, ...)})  # type: ignore[call-overload]
        either = Annotated[
            Annotated[item, Tag("one")] | Annotated[self._many, Tag("many")],  # type: ignore[name-defined,valid-type]
            Discriminator(self._kind),
        ]
        self._adapter: TypeAdapter[Any] = TypeAdapter(either)
        self._mark = msgspec.json.encode(key)

    def _kind(self, body: Any) -> str | None:
        if not isinstance(body, dict):
            return None
        return "many" if self.key in body else "one"

    def parse(self, body: bytes) -> list[Item]:
        """The items of a body.

        Raises:
            Refusal: 400 if it is not JSON or has a key twice, 422 if a value is invalid, naming item and field.
        """
        try:
            content = self._content(body)
        except ValidationError as error:
            raise self._refusal(error) from None
        if isinstance(content, self.item):
            items, keys = [content], len(content.__pydantic_fields_set__)
        else:
            items = list(getattr(content, self.key))
            keys = 1 + sum(len(item.__pydantic_fields_set__) for item in items)
        if _count_keys(body) != keys:  # only then may a key occur twice; of two, pydantic takes the last
            _require_unique_keys(body)
        return items

    def _content(self, body: bytes) -> Any:
        """One item or the many, by what the body seems to be: to know, the adapter makes objects of all of it first."""
        likely = self._many if self._mark in body else self.item
        try:
            return likely.__pydantic_validator__.validate_json(body)
        except ValidationError:
            return self._adapter.validate_json(body)

    def _refusal(self, error: ValidationError) -> Refusal:
        faults = error.errors(include_url=False)
        if faults[0]["type"] == "json_invalid":
            return Refusal(400, f"the body is not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}; correct it")
        problems = [self._problem(fault) for fault in faults[:SHOWN]]
        first, more = problems[0], len(faults) - 1
        where = f"{self.key}[{first['item']}]: " if first["item"] is not None else ""
        where += f"{first['field']}: " if first["field"] else ""
        return Refusal(422, f"{where}{first['problem']}" + (f"; and {more} more" if more else ""), problems=problems)

    def _problem(self, fault: Any) -> dict[str, Any]:
        """Item (None in a body of one), field, and problem."""
        place, item = list(fault["loc"])[1:], None
        if fault["loc"][:2] == ("many", self.key) and len(place) > 1:
            item, place = place[1], place[2:]
        value_text = "" if fault["type"] in SELF_EXPLANATORY else f" (got {_format_input(fault)})"
        field = _shorten(".".join(str(part) for part in place))  # of an unknown key, which may be of any length
        return {"item": item, "field": field, "problem": self._what(fault) + value_text}

    def _what(self, fault: Any) -> str:
        match fault["type"]:
            case "union_tag_not_found":
                return f'the body must be one object, or {{"{self.key}": [...]}}'
            case "extra_forbidden":
                beside = fault["loc"][0] == "many" and len(fault["loc"]) == 2
                allowed = self.key if beside else ", ".join(self.item.model_fields)
                return f"unknown key; remove it or correct its spelling ({allowed})"
            case "missing":
                return "is missing; send it"
            case "too_short" if fault["loc"][-1] == self.key:
                return "is empty; send at least one"
            case "too_long" if fault["loc"][-1] == self.key:
                return f"holds more than {self.limit}; send them in several calls"
        return str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")

    def schema(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """JSON schema of the body, and by name the schemas that it refers to."""
        schema = self._adapter.json_schema(ref_template=REFERENCE)
        definitions: dict[str, Any] = schema.pop("$defs")
        return schema, definitions


def _count_keys(body: bytes) -> int:
    """The number of keys, and perhaps more."""
    if b" :" in body or b"\t:" in body or b"\r:" in body or b"\n:" in body:
        return len(KEYS.findall(body))
    return body.count(b'":')


def _require_unique_keys(body: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                raise Refusal(400, f"the key {ascii(key)[:60]} stands twice in one object; send it once")
            keys.add(key)

    json.loads(body, object_pairs_hook=unique, parse_int=len, parse_float=len)  # int() refuses 4,300 digits


def _format_input(fault: Any) -> str:
    try:
        text = ascii(fault["input"])
    except ValueError:  # Python does not print integers of more than 4,300 digits
        text = "a number of thousands of digits"
    return _shorten(text)


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def prediction_envelope(usecase: UseCase, limit: int) -> Envelope[Any]:
    """The envelope of the use case's requests, each with an optional `id` that makes the call repeatable.

    Raises:
        InvalidInput: if the use case's model has other fields than its `request_columns`, or a reserved one.
    """
    model = usecase.request_model()
    fields = set(model.model_fields)
    if fields != set(usecase.request_columns) or fields & set(RESERVED):
        raise InvalidInput(
            f"request_model of {usecase.name} has the fields {sorted(fields)}; it must have those of request_columns, "
            f"{sorted(usecase.request_columns)}, none of them named {' or '.join(RESERVED)}"
        )
    request = make_model("Request", __base__=(model, Strict), id=(Identity | None, None))
    return Envelope(request, "requests", limit)


def outcome_envelope(limit: int) -> Envelope[ReportedOutcome]:
    return Envelope(ReportedOutcome, "outcomes", limit)
