"""The HTTP responses of the model server; the only status above 499 is 503."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import Response
from sqlalchemy.exc import SQLAlchemyError

from pipelines.errors import FlightdeckError
from pipelines.failure import one_line, trace
from pipelines.serving.document import PROBLEM, RETRIED
from pipelines.serving.failures import reason
from pipelines.serving.schemas import Refusal

log = logging.getLogger(__name__)
ENDS = "the server ends; send the call again later, a prediction with the same id"


def failure(error: Exception | asyncio.CancelledError) -> Response:
    """The answer for an error: refusals have their status; any other error is 503, since a later call may succeed."""
    if isinstance(error, asyncio.CancelledError):
        return problem(503, ENDS)
    match error:
        case Refusal():
            return problem(error.status, str(error), **error.more)
        case FlightdeckError():
            return problem(503, reason(error))
        case SQLAlchemyError() | sqlite3.Error():
            log.error("database: %s", one_line(error))
            return problem(503, f"a database is unavailable ({reason(error)}); nothing was logged")
    log.error("unexpected: %s", trace(error))
    return problem(503, f"{reason(error)}; nothing was answered")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A failure, in the form of RFC 9457; where the same call may succeed later it says when to try."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    again = {"retry-after": "1"} if status in RETRIED else {}
    return Response(msgspec.json.encode(content), status, {**(headers or {}), **again}, PROBLEM)


def json_response(status: int, content: Any) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
