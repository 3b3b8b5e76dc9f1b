"""Secrets of the environment, kept out of every message, log line and record. Standard library only.

Secret are the password in any URI, and the value of any variable with a name such as `..._TOKEN`. Errors of this
package redact their messages (`pipelines.errors`); logs are redacted when a record is created.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote, unquote_plus, urlsplit

SECRET_NAME = re.compile(  # except names of files and of other variables
    r"^(?!.*_(FILE|PATH|DIR|ENV)$).*(PASSW|SECRET|TOKEN|CREDENTIAL|_PWD$|(API|ACCESS|PRIVATE|FERNET|ACCOUNT)_?KEY)"
)
SECRET_PART = re.compile(
    r"passw|secret|token|pwd|(^|[_.-])(key|sig|signature)$|(api|access|account|private)key", re.IGNORECASE
)  # of a URI's query
USERINFO = re.compile(r"(://)[^\s'\"\[]*@")  # up to the last @: a password that was not quoted may hold one
SHORTEST = 5  # characters; shorter secrets occur in too many words
ASSIGNMENT = re.compile(  # password=..., 'password': '...', as drivers quote their arguments
    r"(?i)\b(\w*(?:password|passwd|secret|token)(?:=|['\"]\s*:\s*)['\"]?)[^\s'\"&,;)]+"
)
HIDDEN = "***"
_more: set[str] = set()


def hide(value: str) -> None:
    """Redact a value from now on, in addition to those of the environment."""
    _more.add(value)


def redact(text: str) -> str:
    """The text without secrets of the environment, users and passwords of URIs, and values after `password=`."""
    for secret in _secrets(tuple(sorted(_suspects())), tuple(sorted(_more))):
        if secret in text:
            text = text.replace(secret, HIDDEN)
    text = USERINFO.sub(rf"\1{HIDDEN}@", text) if "@" in text else text
    return ASSIGNMENT.sub(rf"\1{HIDDEN}", text)


def _suspects() -> Iterable[tuple[str, str]]:
    return (pair for pair in os.environ.items() if "://" in pair[1] or SECRET_NAME.search(pair[0].upper()))


@lru_cache(maxsize=8)
def _secrets(variables: tuple[tuple[str, str], ...], more: tuple[str, ...]) -> list[str]:
    """Every secret, longest first, since one may be a part of another."""
    secrets = set(more)
    for name, value in variables:
        if SECRET_NAME.search(name.upper()):
            secrets.add(value)
        if "://" in value:
            secrets.update(_in_uri(value))
    return sorted((secret for secret in secrets if len(secret) >= SHORTEST), key=len, reverse=True)


def _in_uri(uri: str) -> Iterable[str]:
    """Passwords of a URI, as written and unquoted."""
    try:
        parts = urlsplit(uri)
        password = parts.password or ""
    except ValueError:  # malformed: the whole URI, since its parts are unknown
        return [uri]
    # A library that ends the password at another character may quote a part of it, or more than it.
    between = re.match(r"[^:]*://[^:/]*:(.*)@", uri)
    widest = between[1] if between else ""
    spellings = [password, widest, *re.split("[@:/?#]", widest), *secret_parameters(parts.query)]
    return [*spellings, *map(unquote, spellings), *map(unquote_plus, spellings)]


def secret_parameters(query: str) -> list[str]:
    """The values in a URI's query that are secret by their names."""
    parameters = (part.partition("=") for part in query.split("&"))
    return [value for name, _, value in parameters if SECRET_PART.search(name)]


def redact_logs() -> None:
    """Redact all log records of this process from now on, tracebacks included."""
    before = logging.getLogRecordFactory()
    if getattr(before, "redacts", False):
        return

    def record(*args: object, **kwargs: object) -> logging.LogRecord:
        entry = before(*args, **kwargs)
        try:
            message = entry.getMessage()
        except (TypeError, ValueError):  # a call with the wrong arguments, which logging reports itself
            return entry
        if (clean := redact(message)) != message:
            entry.msg, entry.args = clean, ()
        if entry.exc_info and entry.exc_info[0] is not None:
            entry.exc_text = redact("".join(traceback.format_exception(*entry.exc_info)).rstrip())
        return entry

    record.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)
