"""The way of frequent calls past the web framework's routing, which costs more than the answer to one row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class Front:
    """Answers POST of some paths itself, as the app behind it would, and leaves every other call to the app.

    Args:
        endpoints: by path; they read the body, and raise nothing.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Callable[[Receive], Awaitable[Response]]]) -> None:
        self._app, self._endpoints = app, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        response = await endpoint(receive)
        await response(scope, receive, send)
