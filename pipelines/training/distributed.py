"""Train one network family in several processes, each on its share of every batch; the first one writes.

`python -m torch.distributed.run --nproc-per-node 2 -m pipelines.training.distributed --family NAME
--training-set-uri URI --run-name NAME`. Every process runs the train step on the same inputs, so that all of them have
the same weights at every step.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace

import torch.distributed as dist

from pipelines import failure
from pipelines.arguments import Parser
from pipelines.context import Context, build_context
from pipelines.errors import InvalidInput
from pipelines.steps import execute
from pipelines.store import Store
from pipelines.training.families import load_family
from pipelines.training.processes import Processes


class ReadOnlyStore(Store):
    """A store that reads but does not write, since the leading process writes the same."""

    def write_bytes(self, uri: str, content: bytes) -> str:
        return self.sha256(content)


def follower_context(context: Context) -> Context:
    """The context of a process other than the leading one."""
    return context.replaced(data=replace(context.data, store=ReadOnlyStore(context.settings.store)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="pipelines.training.distributed", description=__doc__)
    for name in ("family", "training-set-uri"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--run-name", dest="run", required=True)  # torchrun takes --run for an option of its own
    parser.add_argument("--seed", type=int)
    parser.add_argument("--params", help="params file (default: FLIGHTDECK_PARAMS or params.yaml)")
    parser.add_argument("--home", help="where runs write (default: FLIGHTDECK_HOME or var)")
    parser.add_argument("--out", help="also write the outputs to this JSON file")
    options = parser.parse_args(arguments)
    try:
        fit(options)
    except Exception as error:
        return failure.report(error)
    return 0


def fit(options: Namespace) -> None:
    """This process's part of the fit."""
    context, family = build_context(options.params, options.home), options.family
    if "torch" not in load_family(family).LIBRARIES:
        raise InvalidInput(f"{family} is fitted by one process; use the train step, or choose a network")
    inputs = {"family": family, "training_set_uri": options.training_set_uri, "run": options.run, "seed": options.seed}
    dist.init_process_group("gloo")
    try:
        leads = Processes.joined().leads
        outputs = execute("train", {**inputs, "trials": 1}, context if leads else follower_context(context))
        dist.barrier()
    finally:
        dist.destroy_process_group()
    if leads:
        text = json.dumps(outputs, indent=2)
        print(text)
        if options.out:
            with open(options.out, "w") as file:
                file.write(text)


if __name__ == "__main__":
    sys.exit(main())
