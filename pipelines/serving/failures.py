"""What an answer says of an error. A driver's own words stay out of answers: they may quote a URL."""

from __future__ import annotations

from pipelines.errors import FlightdeckError
from pipelines.failure import one_line


def reason(error: Exception) -> str:
    """The message of one of ours, in one line, else the name of its class."""
    return (
        one_line(error) if isinstance(error, FlightdeckError) else f"{type(error).__name__}; the server's log says more"
    )
