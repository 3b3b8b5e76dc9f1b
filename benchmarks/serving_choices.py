"""Libraries and the log of the model server beside what they were chosen over, each part in turn, in one run.

    python -m benchmarks.serving_choices [--home DIR] [--seconds 3] [--rounds 5] [--rows 20000] [--peers PYTHON]

Transport: servers that answer a constant, under load by wrk. Bodies: requests are read and checked, answers written.
ONNX Runtime: threads of one call. The log: a commit a batch, or a file that is shipped to the database. `--home` and
`--peers` are as of `benchmarks.serving`, with the same models; without `--peers` Granian is left out. `--seconds` is of
one load, `--rows` how many a turn of the other parts has at most. Writes benchmarks/results/serving_choices.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from pydantic import create_model

from benchmarks import log_choices
from benchmarks.ground import FLIGHTS, Ground
from benchmarks.load import Measured, Target, serving
from benchmarks.report import RESULTS, machine, save
from benchmarks.rounds import Cost, side_by_side
from benchmarks.serving import PARAMS, Bench
from benchmarks.serving_peers import free_port
from benchmarks.spool import SHIPPED
from pipelines.artifacts.scorer import load_scorer
from pipelines.context import Context
from pipelines.serving.calls import Answered
from pipelines.serving.schemas import Answers, PredictionAnswer, prediction_envelope
from pipelines.serving.server import PREDICTIONS

RUNS = (
    "benchmarks.serving_at",
    "benchmarks.constant_at",
    "benchmarks.peers.raw_asgi",
    "benchmarks.peers.fastapi_graph",
)
CONNECTIONS = (16, 1)
CALLS = 2000  # of a turn at most: each may wait for the disk
MANY = 1000  # rows of the largest call
THREADS = {"1 thread, as in the server": 1, "2 threads": 2, "the default": 0}
UVICORN = ("uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-proxy-headers")
GRANIAN = ("granian", "--interface", "asgi", "--loop", "uvloop", "--http", "1", "--workers", "1", "--no-access-log")
RAW, FASTAPI = ("benchmarks.peers.raw_asgi:constant",), ("--factory", "benchmarks.peers.fastapi_graph:constant")
VERSION = "from importlib.metadata import version; print(version('granian'))"

Costs = Mapping[int, Mapping[str, Cost]]  # by rows of a call and name


class Flight(msgspec.Struct, forbid_unknown_fields=True):
    """The flights' request as msgspec would read it, but for instants: these it takes of any year."""

    carrier: Annotated[str, Meta(pattern=r"^[A-Z0-9]{2,3}$")]
    origin: Literal["EWR", "JFK", "LGA"]
    dest: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    sched_dep_at: Annotated[datetime, Meta(tz=True)]
    scheduled_minutes: Annotated[float, Meta(gt=0, le=1440)]
    distance: Annotated[float, Meta(gt=0, le=15_000)]
    flight: Annotated[int, Meta(ge=1, le=9999)] | None = None
    tailnum: Annotated[str, Meta(pattern=r"^[A-Z0-9]{2,8}$")] | None = None
    id: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None


class Flights(msgspec.Struct, forbid_unknown_fields=True):
    requests: Annotated[list[Flight], Meta(min_length=1, max_length=MANY)]


def transports(python: str | None) -> dict[str, tuple[list[str] | None, str]]:
    """The command of each server, but for its port, and the path of its constant; None where it is not installed."""
    uvicorn, granian = [sys.executable, "-m", *UVICORN], [python, "-m", *GRANIAN] if python else None
    return {
        "raw ASGI on uvicorn": ([*uvicorn, *RAW, "--port"], "/predict"),
        "**the short way of our protocol on uvicorn**": (
            [sys.executable, "-m", "benchmarks.constant_at"],
            PREDICTIONS,
        ),
        "FastAPI on uvicorn": ([*uvicorn, *FASTAPI, "--port"], "/predict"),
        "raw ASGI on Granian": ([*granian, *RAW, "--port"] if granian else None, "/predict"),
        "FastAPI on Granian": ([*granian, *FASTAPI, "--port"] if granian else None, "/predict"),
    }


def put_loads(bodies: Path, python: str | None, seconds: float, rounds: int) -> dict[str, list[list[Measured]]]:
    """For each server and number of connections the loads of all rounds; none where it is not installed.

    All servers are up meanwhile; one of them has load.
    """
    targets: dict[str, Target] = {}
    loads: dict[str, list[list[Measured]]] = {}
    with ExitStack() as stack:
        for name, (command, path) in transports(python).items():
            loads[name] = [[] for _ in CONNECTIONS]
            if command:
                url = f"http://127.0.0.1:{(port := free_port())}"
                process = stack.enter_context(serving([*command, str(port)], url, "/", {}))
                targets[name] = Target(url, path, bodies, process)
                targets[name].put(CONNECTIONS[0], seconds)  # warm
        for _ in range(rounds):
            for place, connections in enumerate(CONNECTIONS):
                for name, target in targets.items():
                    loads[name][place].append(target.put(connections, seconds))
    return loads


def transport_table(loads: Mapping[str, Sequence[Sequence[Measured]]]) -> str:
    """In Markdown: medians of the rounds, and all failed calls."""
    lines = []
    for name, by_connections in loads.items():
        if not all(by_connections):
            lines.append(f"| {name} | not measured: run without `--peers` | | | | |")
            continue
        cells = [
            f"{median(one.rate for one in of):,.0f} | {median(one.cpu for one in of):,.0f}" for of in by_connections
        ]
        lines.append(f"| {' | '.join([name, *cells])} | {sum(one.errors for of in by_connections for one in of)} |")
    heads = [f"calls/s, {n} connection{'s' * (n > 1)} | processor µs a call" for n in CONNECTIONS]
    return "\n".join([f"| server | {' | '.join(heads)} | errors |", "|---" * 6 + "|", *lines])


def readers(context: Context, size: int) -> dict[str, Callable[[bytes], object]]:
    """Ways to read and check a body of one row, or of many."""
    ours = prediction_envelope(context.usecase, MANY)
    model, struct = (ours.item, Flight) if size == 1 else (_many(ours.item), Flights)
    return {
        "read: **pydantic, and no key twice**": ours.parse,
        "read: pydantic's `model_validate_json` alone": model.model_validate_json,
        "read: msgspec": msgspec.json.Decoder(struct).decode,
    }


def _many(item: Any) -> Any:
    return create_model("Many", requests=(list[item], ...))


def writers() -> dict[str, Callable[[Sequence[tuple[Any, ...]]], object]]:
    """Ways to write the answers to some rows."""

    def answers(rows: Sequence[tuple[Any, ...]]) -> Answers:
        return Answers(
            predictions=[PredictionAnswer(**dict(zip(Answered.__struct_fields__, row, strict=False))) for row in rows]
        )

    return {
        "write: **msgspec**": lambda rows: msgspec.json.encode({"predictions": [Answered(*row) for row in rows]}),
        "write: pydantic's `model_dump_json`": lambda rows: answers(rows).model_dump_json().encode(),
        "write: pydantic's `model_dump`, and `json`": lambda rows: json.dumps(answers(rows).model_dump()).encode(),
    }


def read_and_write(bench: Bench, most: int, rounds: int) -> Costs:
    costs: dict[int, dict[str, Cost]] = {}
    for size, name in ((1, "ours"), (MANY, "many")):
        calls = calls_of(size, most)
        bodies = [line.encode() for line in islice(lines_of(bench.folder / name), calls)]
        rows = [(f"{n:032x}", n / MANY, n % 2 == 0, None, "1", 1) for n in range(size)]
        costs[size] = {
            **side_by_side(readers(bench.context, size), bodies, size, calls, rounds),
            **side_by_side(writers(), [rows], size, calls, rounds),
        }
    return costs


def score(bench: Bench, most: int, rounds: int) -> Costs:
    """Scores of the boosting graph, on rows of flights."""
    store, model = bench.context.data.store, bench.models[0]
    rows = [json.loads(line) for line in islice(lines_of(bench.folder / "bare"), MANY)]
    numeric = np.array([row["numeric"] for row in rows], dtype=np.float32)
    categorical = np.array([row["categorical"] for row in rows], dtype=object)
    scorers = {name: load_scorer(store, model, threads) for name, threads in THREADS.items()}
    works = {name: lambda arrays, of=scorer: of.score_arrays(*arrays) for name, scorer in scorers.items()}
    costs = {}
    for size in log_choices.SIZES:
        inputs = [(numeric[n : n + size], categorical[n : n + size]) for n in range(0, len(rows) - size + 1, size)]
        costs[size] = side_by_side(works, inputs, size, calls_of(size, most), rounds)
    return costs


def lines_of(file: Path) -> Iterator[str]:
    with file.open() as lines:
        yield from lines


def calls_of(size: int, most: int) -> int:
    """The calls of a turn, each of so many rows, of which a turn has `most`."""
    return max(1, min(CALLS, most // size))


def costs_table(what: str, costs: Costs, clock: bool) -> str:
    """In Markdown: a line for each name, and the microseconds a row at each size; of the processor, or also by the
    clock."""
    unit = "µs a row / of the processor" if clock else "processor µs a row"
    heads = [f"{size:,} row{'s' * (size > 1)} a call: {unit}" for size in costs]
    lines = []
    for name in next(iter(costs.values())):
        cells = [f"{of[name].clock:,.1f} / " * clock + f"{of[name].processor:,.1f}" for of in costs.values()]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join([f"| {' | '.join([what, *heads])} |", "|---" * (1 + len(heads)) + "|", *lines])


def measure(bench: Bench, given: argparse.Namespace) -> str:
    """All parts with their tables, in Markdown."""
    loads = put_loads(bench.folder / "ours", given.peers, given.seconds, given.rounds)
    with bench.ours() as target:
        call = median(target.put(log_choices.LOADED, given.seconds).cpu for _ in range(given.rounds))
    logged = log_choices.logged_rows(bench.folder / "records.db", MANY)
    bodies, scores = (work(bench, given.rows, given.rounds) for work in (read_and_write, score))
    figures = log_choices.measure(logged, bench.folder, given.rows, CALLS, given.rounds)
    return f"""## Transport

A constant answer to flights' requests, one process each. Granian runs in an environment of its own.

{transport_table(loads)}

## Bodies

Read: a body becomes checked values; all three refuse unknown keys. Write: values become the body of an answer.

{costs_table("work", bodies, clock=False)}

## ONNX Runtime

The gradient boosting graph; threads are `intra_op_num_threads` of a session.

{costs_table("threads", scores, clock=True)}

## The log

Rows of flights, until an answer may go out, and in all: with the checkpoint of the database and, of the file, with
reading, checking and shipping it by the driver, {SHIPPED:,} rows a commit. `fsync`: each commit, or write to the file,
waits for the disk. The file does not look whether an id was used before.

{log_choices.table(figures)}

{log_choices.verdict(figures, call)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", default=None)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--peers", default=None, metavar="PYTHON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(given.home or f"{temporary}/home").absolute()
        bench = Bench(home, Path(temporary), given.seconds, None)
        parts = measure(bench, given)
    command = f"--seconds {given.seconds:g} --rounds {given.rounds} --rows {given.rows}"
    where = machine("uvicorn", "fastapi", "pydantic", "msgspec", "onnxruntime", "sqlalchemy")
    if given.peers:
        command += " --peers PYTHON"
        told = subprocess.run([given.peers, "-c", VERSION], capture_output=True, text=True, check=True)
        where += f", granian {told.stdout.strip()}"
    text = f"""# The model server's libraries and log, beside others

Medians of {given.rounds} rounds; in each round everything that one table compares has its turn. What the model server
uses is bold. Requests and models are those of `benchmarks.serving`.

{parts}
`python -m benchmarks.serving_choices {command}`, on {where}.
"""
    ground = Ground("benchmarks.serving_choices", PARAMS, FLIGHTS, (bench.context.params.features.service,), RUNS)
    save(RESULTS / "serving_choices.md", text, ground)


if __name__ == "__main__":
    main()
