"""Addresses as messages may show them, and the origin that credentials belong to."""

from __future__ import annotations

import re

URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s'\"<>()]*)")
PORTS = {"http": 80, "https": 443}


def shown(text: str) -> str:
    """A URL, or a message with URLs in it, without their passwords, queries and fragments, which may hold secrets."""
    return URL.sub(lambda found: f"{found['scheme']}://{_public(found['scheme'], found['rest'])}", text)


def _public(scheme: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if "@" in host:
        host = "...@" + host.rpartition("@")[2]
    if not scheme.lower().startswith("http"):
        return host + slash + path  # of a file, any character may be part of its name
    return re.split(r"[?#]", host + slash + path, maxsplit=1)[0]


def origin(scheme: str, host: str, port: int | None) -> tuple[str, str, int | None]:
    """Scheme, host and port, the default one made explicit."""
    return scheme.lower(), host.lower(), port if port is not None else PORTS.get(scheme.lower())
