"""The place of the online store, as Feast's configuration."""

from __future__ import annotations

import json
from urllib.parse import unquote, urlsplit

from pipelines.errors import InvalidInput

VARIABLE = "FLIGHTDECK_FEAST_ONLINE"
UTC_SQLITE = "pipelines.online.feast_sqlite.UtcSqliteOnlineStore"  # our class, by which Feast finds it
FORM = "redis://[[USER:]PASSWORD@]HOST[:PORT][/DB], or a path for SQLite"


def online_store(place: str) -> dict[str, str]:
    """Feast's configuration of the online store at a path (SQLite) or a `redis://` or `rediss://` URI.

    Raises:
        InvalidInput: if it is neither. The message does not show the place, since it may hold a password.
    """
    if "://" not in place:
        return {"type": UTC_SQLITE, "path": place}
    error = InvalidInput(f"{VARIABLE} is neither a path nor an address of Redis; write {FORM}")
    try:
        parts = urlsplit(place)
        host, port, database = parts.hostname, parts.port or 6379, int(parts.path.strip("/") or 0)
    except ValueError:
        raise error from None
    if parts.scheme not in {"redis", "rediss"} or not host or parts.query or parts.fragment:
        raise error
    options: dict[str, str | int | bool] = {"db": database}
    options |= {"ssl": True} if parts.scheme == "rediss" else {}
    secrets = {"username": parts.username, "password": parts.password}
    options |= {name: unquote(value) for name, value in secrets.items() if value}
    if any("," in str(value) for value in options.values()):
        raise InvalidInput(
            f"{VARIABLE} has a comma in its user or password, which Feast takes for a separator; change it"
        )
    text = ",".join(f"{name}={json.dumps(value)}" for name, value in options.items())
    return {"type": "redis", "connection_string": f"{host}:{port},{text}"}
