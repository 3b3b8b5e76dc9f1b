"""The time of the model server and the judge."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    from pipelines.context import Context


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument(
        "--at", metavar="INSTANT", help="an ISO instant with its offset, or a local day of the use case"
    )


def answer(arguments: Arguments, context: Context) -> Answer:
    """The present instant; `--at` sets it first, also back."""
    from datetime import datetime

    from pipelines.clock import require_driven
    from pipelines.instants import midnight

    at = arguments["at"]
    if at is not None:
        clock = require_driven(context.clock)
        try:
            instant = datetime.fromisoformat(at)
        except ValueError:
            raise InvalidInput(
                f"{at!r} is not an instant; give one such as 2013-09-01 or 2013-09-01T12:00-04:00"
            ) from None
        clock.start(instant if instant.tzinfo else midnight(instant.date(), context.usecase.timezone))
    now = context.clock.now().isoformat()
    return {"now": now, "clock": context.params.clock}, lambda: print(f"{now} ({context.params.clock})")


COMMAND = Command("clock", "Show the time of server and judge, or set it where a replay drives it.", add, answer)
