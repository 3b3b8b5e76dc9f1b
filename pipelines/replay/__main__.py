"""Command line: `python -m pipelines.replay --start DAY --end DAY --server URL`."""

from __future__ import annotations

import json
import logging
import statistics
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

from pipelines import failure
from pipelines.arguments import Parser
from pipelines.clock import require_driven
from pipelines.context import build_context
from pipelines.deployment.pulse import goes_on
from pipelines.errors import InvalidInput
from pipelines.online.standing import online_stands_at, standing_problem
from pipelines.replay.driver import Replay, ReplayCounts
from pipelines.replay.world import read_world

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m pipelines.replay", description=__doc__)
    parser.add_argument("--params", metavar="FILE")
    parser.add_argument("--home", metavar="DIR")
    parser.add_argument("--start", required=True, help="first local day or period")
    parser.add_argument("--end", required=True, help="the one after the last, exclusive")
    parser.add_argument("--server", required=True, metavar="URL", help="address of the model server")
    parser.add_argument("--every", type=int, default=15, metavar="MINUTES", help="simulated time between ticks")
    parser.add_argument("--anew", action="store_true", help="set the clock to the start; else continue from its time")
    parser.add_argument(
        "--while-rollout",
        action="store_true",
        help="let the judge look before time goes on, and stop when no rollout is in force",
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        context = build_context(arguments.params, arguments.home)
        window = context.window(arguments.start, arguments.end)
        clock = require_driven(context.clock)
        if arguments.anew or not clock.started:
            clock.start(window.start_at)

        begins = max(clock.now(), window.start_at)
        if not arguments.anew and (problem := standing_problem(online_stands_at(context.feast), begins)):
            raise InvalidInput(problem)

        def stop() -> bool:
            return arguments.while_rollout and not goes_on(context)

        def tell(at: datetime, counts: ReplayCounts) -> None:
            log.info(
                "%s: %d requests, %d outcomes, %d rows pushed", at, counts.requests, counts.outcomes, counts.pushed
            )

        replay = Replay(read_world(context, window), clock, context.feast, arguments.server)
        counts = replay.run(timedelta(minutes=arguments.every), stop, tell)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return failure.report(error)
    totals = {"requests": counts.requests, "outcomes": counts.outcomes, "pushed": counts.pushed}
    latency = {"median_ms": round(statistics.median(counts.milliseconds), 2)} if counts.milliseconds else {}
    print(json.dumps({**totals, **latency, "clock": clock.now().isoformat()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
