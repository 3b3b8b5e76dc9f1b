"""The model server and its peers, in one run: requests a second, latency, CPU time.

    python -m benchmarks.serving [--home DIR] [--seconds 10] [--peers PYTHON]

Makes features and two models of the first quarter in DIR (kept; a temporary folder by default). Each server is started
alone, on a free port, and gets its requests from wrk, on the same machine: a month's flights, from the first one on
and, after the last, all over again. While ours answers, rows of features are pushed. `--peers` is the Python of an
environment with benchmarks/peers/requirements.txt; without it BentoML and LitServe are left out. Writes
benchmarks/results/serving.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path

from benchmarks.ground import FLIGHTS, ROOT, SPLIT, Ground
from benchmarks.load import Measured, Target, serving
from benchmarks.redis_server import running_redis
from benchmarks.report import RESULTS, machine, save
from benchmarks.serving_peers import Peers, free_port
from pipelines import chains
from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.model import ModelRef, read_model
from pipelines.context import Context, build_context
from pipelines.features.stream import OnlineStore
from pipelines.graph_inputs import number_columns, string_column
from pipelines.instants import midnight
from pipelines.point_in_time import feature_frame, load_examples
from pipelines.records import Plan
from pipelines.replay.world import read_world
from pipelines.steps import execute
from pipelines.usecase import inputs_of
from pipelines.walk import walk

PARAMS = (*SPLIT, "cleaning", "training", "costs", "serving")
START, END = date(2013, 1, 1), date(2013, 4, 1)
DAYS = 28  # whose flights are sent
FAMILIES = ("hist_gradient_boosting", "mlp")
PUSHED = 0.5  # seconds between two pushes
RUNS = ("benchmarks.serving_at", "benchmarks.peers.graph", "benchmarks.peers.fastapi_graph")


def prepare(context: Context) -> list[ModelRef]:
    """Two models; made once a home."""
    folders = [context.data.uri("models", "bench", family) for family in FAMILIES]
    if not all(context.data.store.exists(ModelCard.place(folder)) for folder in folders):
        run = partial(execute, context=context)
        outputs = walk(chains.data, _given(context), run, only=(*chains.FEATURES, "snapshot", "materialize"))
        choices = {"families": list(FAMILIES), "feature_service": None, "trials": 1, "seed": 1}
        known = {"snapshot": outputs["snapshot"]}
        walk(chains.training, {**_given(context), **choices}, run, only=("build_training_set", "train"), previous=known)
    return [ModelRef(folder, read_model(context.data.store, ModelRef(folder)).sha256) for folder in folders]


def _given(context: Context) -> dict[str, str]:
    """The inputs of a run of the data."""
    as_of = midnight(END, context.usecase.timezone).isoformat()
    return {"start": START.isoformat(), "end": END.isoformat(), "run": "bench", "as_of": as_of}


def fill_online(context: Context, *steps: str) -> None:
    """Run the steps of the data chain that write to the online store."""
    walk(chains.data, _given(context), partial(execute, context=context), only=steps)


def write_bodies(context: Context, folder: Path) -> None:
    """`ours`: one request per line; `many`: a thousand per line; `bare`: the inputs of one; `mlflow`: in its format."""
    examples = load_examples(context, context.window(END - timedelta(DAYS), END))
    columns = context.usecase.request_columns
    rows = [{name: row[name] for name in columns} for row in examples.to_pylist()]
    texts = [json.dumps(row, default=lambda at: at.isoformat()) for row in rows]
    thousands = [texts[n : n + 1000] for n in range(0, len(texts) - 999, 1000)]
    service = context.params.features.service
    inputs = inputs_of(context.usecase, service)
    frame = feature_frame(context, examples, service, inputs)
    numbers = [[None if n != n else n for n in row] for row in number_columns(frame, inputs.numeric).tolist()]
    spelt = [string_column(frame[name], name).tolist() for name in inputs.categorical]
    pairs = [*zip(numbers, map(list, zip(*spelt, strict=True)), strict=True)]
    written = {
        "ours": texts,
        "many": [f'{{"requests": [{", ".join(some)}]}}' for some in thousands],
        "bare": [json.dumps({"numeric": n, "categorical": c}) for n, c in pairs],
        "mlflow": [json.dumps({"inputs": {"numeric": [n], "categorical": [c]}}) for n, c in pairs],
    }
    for name, lines in written.items():
        (folder / name).write_text("\n".join(lines) + "\n")


class Bench:
    """The home and processes of the servers, in a folder of this run."""

    def __init__(self, home: Path, folder: Path, seconds: float, peers: str | None) -> None:
        self.folder, self.seconds = folder, seconds
        os.environ["FLIGHTDECK_RECORDS_URI"] = f"sqlite:///{folder}/records.db"
        self.home = home
        self.context = build_context(ROOT / "params.yaml", home)
        self.models = prepare(self.context)
        self.at = midnight(END, self.context.usecase.timezone) - timedelta(minutes=30)
        write_bodies(self.context, folder)
        self.peers = Peers(self.models[0].uri, folder, seconds, peers)

    def route(self, challenger: int | None = None, share: float = 0.0) -> None:
        """Put a plan in force."""
        before = self.context.plans.current()
        one, two = ((ref.uri, ref.sha256 or "") for ref in (self.models[0], self.models[challenger or 0]))
        rival = (None, None, None) if challenger is None else ("2", *two)
        version = before.version + 1 if before else 1
        plan = Plan(version, "bench", "25", "1", *one, rival[0], rival[1], rival[2], share, self.at)
        assert self.context.plans.replace(plan)

    @contextmanager
    def ours(self, challenger: int | None = None, share: float = 0.0, **variables: str) -> Iterator[Target]:
        """Our server under a plan, while features are pushed."""
        self.route(challenger, share)
        port = free_port()
        places = {"FLIGHTDECK_PARAMS": str(ROOT / "params.yaml"), "FLIGHTDECK_HOME": str(self.home)}
        command = [sys.executable, "-m", "benchmarks.serving_at", str(port)]
        url = f"http://127.0.0.1:{port}"
        with serving(command, url, "/readyz", {**places, "AT": self.at.isoformat(), **variables}) as process:
            target = Target(url, "/v1/predictions", self.folder / "ours", process)
            with self._pushing():
                target.put(16, self.seconds)  # warm
                yield target

    @contextmanager
    def in_redis(self) -> Iterator[None]:
        """A context manager in which the stored features are in a Redis."""
        before = self.context
        with running_redis(self.folder) as port:
            os.environ["FLIGHTDECK_FEAST_ONLINE"] = f"redis://127.0.0.1:{port}"
            try:
                self.context = build_context(ROOT / "params.yaml", self.home)
                fill_online(self.context, "apply_features", "materialize")
                yield
            finally:
                del os.environ["FLIGHTDECK_FEAST_ONLINE"]
                self.context = before

    @contextmanager
    def _pushing(self) -> Iterator[None]:
        """Push the last day's features, tick by tick."""
        world = read_world(self.context, self.context.window(END - timedelta(1), END))
        online, ended = OnlineStore(self.context.feast), threading.Event()
        ticks = cycle([tick for tick in world.ticks(timedelta(minutes=15)) if tick.features])

        def push() -> None:
            while not ended.wait(PUSHED):
                for name, rows in next(ticks).features.items():
                    online.push(name, world.keys[name], rows)

        with ThreadPoolExecutor(1) as thread:
            pushing = thread.submit(push)
            try:
                yield
            finally:
                ended.set()
            pushing.result()

    def logged(self) -> int:
        """Rows in the log."""
        with sqlite3.connect(self.folder / "records.db") as records:
            (rows,) = records.execute("select count(*) from predictions").fetchone()
        return int(rows)

    def bytes_a_row(self) -> float:
        """Bytes of the log for each row, in the records' file."""
        with sqlite3.connect(self.folder / "records.db") as records:
            records.execute("pragma wal_checkpoint(truncate)")
        return (self.folder / "records.db").stat().st_size / self.logged()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", default=None)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--peers", default=None, metavar="PYTHON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(arguments.home or f"{temporary}/home").absolute()
        bench = Bench(home, Path(temporary), arguments.seconds, arguments.peers)
        results = measure(bench)
        text = report(results, bench)
    ground = Ground("benchmarks.serving", PARAMS, FLIGHTS, (bench.context.params.features.service,), RUNS)
    save(RESULTS / "serving.md", text, ground)


def measure(bench: Bench) -> dict[str, Measured]:
    """The results, by name of the measurement."""
    results: dict[str, Measured] = {}

    def note(name: str, measured: Measured | None) -> None:
        if measured:
            results[name] = measured
            print(f"{name}: {measured}", file=sys.stderr)

    for peer in ("constant", "graph", "mlflow", "bentoml", "litserve"):
        note(peer, bench.peers.measure(peer))
    with bench.ours() as target:
        note("ours", target.put(16, bench.seconds))
        note("one connection", target.put(1, bench.seconds))
        note("64 connections", target.put(64, bench.seconds))
        pause = 2 * 16 / results["ours"].rate * 1000 - results["ours"].p50 / 2
        note("half of the rate", target.put(16, bench.seconds, pause))
        many = Target(target.url, target.path, bench.folder / "many", target.process)
        note("1,000 rows a call", many.put(1, bench.seconds))
    for name, challenger, share in (
        ("the same model as a challenger at 25 %", 0, 0.25),
        ("a network as a challenger at 25 %", 1, 0.25),
        ("the same model in shadow", 0, 0.0),
    ):
        with bench.ours(challenger, share) as target:
            note(name, target.put(16, bench.seconds))
    with bench.ours(WORKERS="2") as target:
        note("2 workers", target.put(16, bench.seconds))
    with bench.ours(FLIGHTDECK_RECORDS_FSYNC="1") as target:
        note("each commit waits for the disk", target.put(16, bench.seconds))
    with bench.in_redis(), bench.ours() as target:
        note("stored features in Redis", target.put(16, bench.seconds))
        note("stored features in Redis, one connection", target.put(1, bench.seconds))
    note("constant, again", bench.peers.measure("constant"))
    return results


def report(results: dict[str, Measured], bench: Bench) -> str:
    constant = (results["constant"].rate + results["constant, again"].rate) / 2
    names = {
        "constant": "FastAPI that answers a constant (uvicorn, uvloop, httptools)",
        "constant, again": "the same, after all others",
        "graph": "FastAPI with the graph and nothing else",
        "mlflow": "`mlflow models serve`, the graph",
        "bentoml": "BentoML, the graph",
        "litserve": "LitServe, the graph",
        "ours": "**ours: validation, features with freshness, routing, log**",
        "half of the rate": "ours at half of that rate",
        "1,000 rows a call": "ours, 1 connection, 1,000 rows a call",
    }
    rows = []
    for name, of in results.items():
        calls = f"{of.rate:,.0f}" if name != "1,000 rows a call" else f"{1000 * of.rate:,.0f} rows"
        label = names.get(name, f"ours, {name}")
        share = f"{of.rate / constant:.0%}" if name != "1,000 rows a call" else ""
        rows.append(f"| {label} | {calls} | {share} | {of.p50:.2f} | {of.p99:.2f} | {of.cpu:,.0f} | {of.errors} |")
    where = machine("uvicorn", "fastapi", "mlflow", "onnxruntime") + bench.peers.versions()
    return f"""# The model server and its peers

One process each (but for 2 workers), 16 connections where not said otherwise, one row a call; the same gradient
boosting graph. Ours reads stored features from SQLite, while rows are pushed every {PUSHED:g} s, and logs to SQLite
before it answers; the others score inputs that they are sent.
Requests are {DAYS} days of flights, for every row from the first one on and, after the last, all over again. Rates are
of one run, on a machine whose speed is not constant: compare them with each other, and with the constant at the
beginning and the end.

| server | calls/s | of the constant | p50 ms | p99 ms | processor µs a call | errors |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

The log takes {bench.bytes_a_row():,.0f} bytes a request. Nothing is kept outside of the records, so the log has no lag.

`python -m benchmarks.serving --seconds {bench.seconds:g} --peers PYTHON`, on {where}.
"""


if __name__ == "__main__":
    main()
