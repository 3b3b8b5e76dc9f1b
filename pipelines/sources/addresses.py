"""Addresses without their secrets, for messages, and the origin that credentials belong to."""

from __future__ import annotations

import re

URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s'\"<>()]*)")
PORTS = {"http": 80, "https": 443}


def scrub(text: str) -> str:
    """A URL, or a message with URLs in it, without passwords, queries and fragments, which may hold secrets."""
    return URL.sub(lambda url: f"{url['scheme']}://{_public(url['scheme'], url['rest'])}", text)


def _public(scheme: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if "@" in host:
        host = "...@" + host.rpartition("@")[2]
    if not scheme.lower().startswith("http"):
        return host + slash + path  # a file's name may have any character, "?" and "#" too
    return re.split(r"[?#]", host + slash + path, maxsplit=1)[0]


def origin(scheme: str, host: str, port: int | None) -> tuple[str, str, int | None]:
    """Scheme, host and port, the default one made explicit."""
    return scheme.lower(), host.lower(), port if port is not None else PORTS.get(scheme.lower())
