"""Secrets of the environment, kept out of every message, log line and record. Standard library only.

What is secret is known by where it stands: the password in any URI, and the value of any variable whose name says so.
Errors of this package redact their own messages (`pipelines.errors`), logs are redacted as their records are made.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote, unquote_plus, urlsplit

SECRET_NAME = re.compile(  # but for names of files and of other variables
    r"^(?!.*_(FILE|PATH|DIR|ENV)$).*(PASSW|SECRET|TOKEN|CREDENTIAL|_PWD$|(API|ACCESS|PRIVATE|FERNET|ACCOUNT)_?KEY)"
)
SECRET_PART = re.compile(
    r"passw|secret|token|pwd|(^|[_.-])(key|sig|signature)$|(api|access|account|private)key", re.IGNORECASE
)  # of a URI's query
USERINFO = re.compile(r"(://)[^\s'\"\[]*@")  # up to the last @: a password that was not quoted may hold one
SHORTEST = 5  # characters; what is shorter stands in too many words
NAMED = re.compile(  # password=..., 'password': '...', as drivers quote what they were given
    r"(?i)\b(\w*(?:password|passwd|secret|token)(?:=|['\"]\s*:\s*)['\"]?)[^\s'\"&,;)]+"
)
HIDDEN = "***"
_more: set[str] = set()


def hide(value: str) -> None:
    """Have a value hidden that no variable's name gives away."""
    _more.add(value)


def redact(text: str) -> str:
    """The text without the secrets of this process's environment, users and passwords of URIs, and `password=...`."""
    for secret in _secrets(tuple(sorted(_suspects())), tuple(sorted(_more))):
        if secret in text:
            text = text.replace(secret, HIDDEN)
    text = USERINFO.sub(rf"\1{HIDDEN}@", text) if "@" in text else text
    return NAMED.sub(rf"\1{HIDDEN}", text)


def _suspects() -> Iterable[tuple[str, str]]:
    return (pair for pair in os.environ.items() if "://" in pair[1] or SECRET_NAME.search(pair[0].upper()))


@lru_cache(maxsize=8)
def _secrets(variables: tuple[tuple[str, str], ...], more: tuple[str, ...]) -> list[str]:
    """Every secret, longest first: one may be a part of another."""
    found = set(more)
    for name, value in variables:
        if SECRET_NAME.search(name.upper()):
            found.add(value)
        if "://" in value:
            found.update(_in_uri(value))
    return sorted((secret for secret in found if len(secret) >= SHORTEST), key=len, reverse=True)


def _in_uri(uri: str) -> Iterable[str]:
    """Passwords of a URI as they are written, and as they are meant."""
    try:
        parts = urlsplit(uri)
        password = parts.password or ""
    except ValueError:  # malformed: all of it, since nobody can tell which part is which
        return [uri]
    # Whoever takes another character for the end of the password quotes a part of it, or more than it.
    between = re.match(r"[^:]*://[^:/]*:(.*)@", uri)
    widest = between[1] if between else ""
    written = [password, widest, *re.split("[@:/?#]", widest), *secret_parameters(parts.query)]
    return [*written, *map(unquote, written), *map(unquote_plus, written)]


def secret_parameters(query: str) -> list[str]:
    """The values in a URI's query that are secret by their names."""
    asked = (part.partition("=") for part in query.split("&"))
    return [value for name, _, value in asked if SECRET_PART.search(name)]


def redact_logs() -> None:
    """From now on no log record of this process holds a secret, its traceback included."""
    before = logging.getLogRecordFactory()
    if getattr(before, "redacts", False):
        return

    def record(*args: object, **kwargs: object) -> logging.LogRecord:
        made = before(*args, **kwargs)
        try:
            told = made.getMessage()
        except (TypeError, ValueError):  # a call with the wrong arguments, which logging reports itself
            return made
        if (clean := redact(told)) != told:
            made.msg, made.args = clean, ()
        if made.exc_info and made.exc_info[0] is not None:
            made.exc_text = redact("".join(traceback.format_exception(*made.exc_info)).rstrip())
        return made

    record.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)
