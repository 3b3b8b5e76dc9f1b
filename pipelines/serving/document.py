"""The OpenAPI document: every answer of each operation, and the schemas of request bodies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from pipelines.serving.schemas import Envelope, Failure

Schema = dict[str, Any]  # of OpenAPI
MEANINGS = {
    400: "The body is not JSON, has a key twice, or ended early.",
    404: "There is no such prediction.",
    413: "The body is longer than this server accepts.",
    422: "A value is invalid; `detail` names it and says what to do.",
    429: "Too many calls wait for their answer; the same call may succeed later.",
    503: "Unavailable now; the same call may succeed later.",
}
PROBLEM = "application/problem+json"  # RFC 9457
RETRIED = (429, 503)  # with a header that says after how many seconds
RETRY = {"description": "seconds", "required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}


def answers(*statuses: int, **others: type[BaseModel]) -> dict[int | str, Schema]:
    """The responses of an operation besides 200, in FastAPI's form.

    Args:
        statuses: those of `MEANINGS` that have a `Failure` as body.
        others: models of other answers, by `status_NNN`.
    """
    models: dict[int, type[BaseModel]] = dict.fromkeys(statuses, Failure)
    models |= {int(name.removeprefix("status_")): model for name, model in others.items()}
    responses: dict[int | str, Schema] = {status: {"model": model} for status, model in models.items()}
    for status, response in responses.items():
        response["description"] = MEANINGS.get(int(status), "")
    for status in responses.keys() & set(RETRIED):
        responses[status]["headers"] = {"retry-after": RETRY}
    return responses


def body(envelope: Envelope[Any]) -> Schema:
    """The `openapi_extra` of an operation that reads this envelope."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": envelope.schema()[0]}}}}


def describe(app: FastAPI, envelopes: Iterable[Envelope[Any]]) -> None:
    """Add the envelopes' schemas, to which `body` refers, to the app's document."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for envelope in envelopes:
        document["components"]["schemas"] |= envelope.schema()[1]
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        if "requestBody" not in operation:
            operation["responses"].pop("422", None)  # FastAPI's, of text in a path, which may be any
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                response["content"] = {PROBLEM: response["content"]["application/json"]}
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    app.openapi_schema = document
