"""What an answer and the log say of an error. A driver's own words stay out of answers: they may quote a URL."""

from __future__ import annotations

import re
import traceback

from pipelines.errors import FlightdeckError

USER = re.compile(r"(?<=://)[^\s'\"]*@")  # up to the last @: a password that was not quoted may hold one
NAMED = re.compile(r"(?i)\b(\w*(?:password|passwd|secret|token|credential)\w*['\"]?\s*[=:]\s*)['\"]?[^\s'\"&,;)]+")


def reason(error: Exception) -> str:
    """An error in an answer: the message of one of ours, in one line, else the name of its class."""
    if isinstance(error, FlightdeckError):
        return without_secrets(" ".join(str(error).split()))
    return f"{type(error).__name__}; the server's log says more"


def trace(error: Exception) -> str:
    """An error in the log, with its traceback."""
    return without_secrets("".join(traceback.format_exception(error)))


def without_secrets(text: str) -> str:
    """The text without the user and password of its URLs, and without values that are named as secrets."""
    return NAMED.sub(r"\1***", USER.sub("***@", text))
