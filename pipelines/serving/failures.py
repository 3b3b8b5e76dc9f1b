"""The text about an error in an answer. Messages of drivers stay out of answers, since they may quote a URL."""

from __future__ import annotations

from pipelines.errors import FlightdeckError
from pipelines.failure import one_line


def reason(error: Exception) -> str:
    """The message of one of our errors in one line; for other errors the name of the class."""
    return (
        one_line(error) if isinstance(error, FlightdeckError) else f"{type(error).__name__}; the server's log says more"
    )
