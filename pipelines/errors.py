"""The exception tree. A message names the offending value and the remedy; the command line prints it as one line.

No message holds a secret of the environment, whatever it quotes: messages go to logs, records and pages.
"""

from __future__ import annotations

from pipelines.redaction import redact


class FlightdeckError(Exception):
    """Anything this package raises on purpose. `exit_code` is the status of the command line."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))


class InvalidInput(FlightdeckError):
    """A value from outside (flag, form, params file, environment) cannot be used. Nothing was written."""

    exit_code = 2


class MissingData(InvalidInput):
    """A source, partition or artifact that a step needs is not there."""


class CorruptData(InvalidInput):
    """A file is truncated, altered or not of the format that its name promises."""


class Unavailable(FlightdeckError):
    """A service that the step needs is down, slow or full. What is half done, a second run completes."""


class CheckFailed(FlightdeckError):
    """Data or features did not pass a critical check, so the chain stops here."""

    exit_code = 3
