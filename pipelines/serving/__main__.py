"""Command line: `python -m pipelines.serving`, the model server of one use case."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import uvicorn

from pipelines import failure
from pipelines.arguments import Parser
from pipelines.context import build_context
from pipelines.errors import InvalidInput, Unavailable
from pipelines.serving.app import create_app
from pipelines.serving.protocol import PredictionProtocol
from pipelines.serving.workers import METRICS, settle

END_WITHIN = 4  # seconds for calls under way once the server is to end


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="flightdeck serve",
        description="Serve predictions over HTTP, at FLIGHTDECK_SERVING_HOST and FLIGHTDECK_SERVING_PORT.",
    )
    parser.add_argument("--params", metavar="FILE", help="params file (default: FLIGHTDECK_PARAMS or params.yaml)")
    parser.add_argument("--home", metavar="DIR", help="where runs write (default: FLIGHTDECK_HOME or var)")
    parser.add_argument("--port", type=int, metavar="PORT", help="in place of FLIGHTDECK_SERVING_PORT")
    arguments = parser.parse_args(argv)
    try:
        context = build_context(arguments.params, arguments.home, checked=False)  # it answers, whatever rollouts lack
        port = context.settings.serving_port if arguments.port is None else arguments.port
        if not 1 <= port <= 65535:
            raise InvalidInput(f"--port {port}: choose one of 1 to 65535")
        host = context.settings.serving_host
        _require_free(host, port)
        app = create_app(context)  # also where each worker makes its own: what is wrong is said here, once
    except Exception as error:
        return failure.report(error)
    try:
        # Explicit values, or uvicorn would read WEB_CONCURRENCY and FORWARDED_ALLOW_IPS from the environment.
        options: dict[str, Any] = {
            "host": host,
            "port": port,
            "http": PredictionProtocol,
            "access_log": False,
            "proxy_headers": False,  # nothing asks who called
            "timeout_graceful_shutdown": END_WITHIN,  # or it would wait for ever for a client that sends half a body
        }
        if context.settings.serving_workers == 1:
            settle()
            uvicorn.run(app, workers=1, **options)
        else:
            _run_workers(context.settings.serving_workers, arguments, options)
    except SystemExit:  # uvicorn has logged why; its exit codes have another meaning here
        return Unavailable.exit_code
    return 0


def _run_workers(workers: int, arguments: argparse.Namespace, options: dict[str, Any]) -> None:
    """Serve by several processes, which find their params and home in the environment."""
    given = {"FLIGHTDECK_PARAMS": arguments.params, "FLIGHTDECK_HOME": arguments.home}
    os.environ.update({name: value for name, value in given.items() if value is not None})
    with tempfile.TemporaryDirectory(prefix="flightdeck-metrics-") as counts:
        os.environ[METRICS] = counts
        uvicorn.run("pipelines.serving.workers:served", factory=True, workers=workers, **options)


def _require_free(host: str, port: int) -> None:
    """Check that this process can listen at a host and port.

    Raises:
        Unavailable: if the port is in use or not allowed, or the host is not an address of this machine.
    """
    try:
        for family, kind, protocol, _, address in set(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise Unavailable(
            f"cannot listen at {host}:{port} ({error.strerror or error}); stop the process that has the "
            "port, or choose another with --port or FLIGHTDECK_SERVING_PORT"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
