"""Command line: `python -m pipelines.serving`, the model server of one use case."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import uvicorn

from pipelines.context import build_context
from pipelines.errors import FlightdeckError
from pipelines.serving.app import create_app


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="flightdeck serve",
        description="Serve predictions over HTTP, at FLIGHTDECK_SERVING_HOST and FLIGHTDECK_SERVING_PORT.",
    )
    parser.add_argument("--params", metavar="FILE", help="params file (default: FLIGHTDECK_PARAMS or params.yaml)")
    parser.add_argument("--home", metavar="DIR", help="where runs write (default: FLIGHTDECK_HOME or var)")
    parser.add_argument("--port", type=int, metavar="PORT", help="in place of FLIGHTDECK_SERVING_PORT")
    arguments = parser.parse_args(argv)
    try:
        context = build_context(arguments.params, arguments.home)
        app = create_app(context)
    except FlightdeckError as error:
        print(f"flightdeck: {error}", file=sys.stderr)
        return error.exit_code
    settings = context.settings
    uvicorn.run(app, host=settings.serving_host, port=arguments.port or settings.serving_port, access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
