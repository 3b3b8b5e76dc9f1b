"""Latency and throughput of the model server, over real data, two versions a request, everything logged.

    python -m benchmarks.serving [--home DIR] [--seconds 10]

Makes features and two models of the first quarter in DIR (kept; a temporary folder by default), starts a server on a
free port, sends requests over HTTP, and writes benchmarks/results/serving.md.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks.ground import FLIGHTS, ROOT, SPLIT, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines import chains
from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.model import ModelRef, read_model
from pipelines.clock import ReplayClock
from pipelines.context import Context, build_context
from pipelines.instants import midnight
from pipelines.records import Plan
from pipelines.steps import execute
from pipelines.walk import walk

PARAMS = (*SPLIT, "cleaning", "training", "costs")
START, END = date(2013, 1, 1), date(2013, 4, 1)
PATTERNS = ((1, 1), (4, 1), (1, 100), (1, 1000))  # connections, rows a call


def prepare(context: Context) -> dict[str, str]:
    """Model folders by version; made once a home."""
    folders = {
        str(n): context.data.uri("models", "bench", f) for n, f in enumerate(context.params.training.families, 1)
    }
    if all(context.data.store.exists(ModelCard.place(folder)) for folder in folders.values()):
        return folders
    run = partial(execute, context=context)
    given = {"start": START.isoformat(), "end": END.isoformat(), "run": "bench"}
    given |= {"as_of": midnight(END, context.usecase.timezone).isoformat()}
    outputs = walk(chains.data, given, run, only=(*chains.FEATURES, "snapshot", "materialize"))
    choices = {"families": context.params.training.families, "feature_service": None, "trials": 1, "seed": 1}
    known = {"snapshot": outputs["snapshot"]}
    walk(chains.training, {**given, **choices}, run, only=("build_training_set", "train"), previous=known)
    return folders


def requests(context: Context) -> list[dict[str, Any]]:
    """The last day's requests."""
    from pipelines.point_in_time import load_examples

    examples = load_examples(context, context.window(END - timedelta(1), END)).to_pylist()
    rows = [{name: row[name] for name in context.usecase.request_columns} for row in examples]
    return list(json.loads(json.dumps(rows, default=lambda at: at.isoformat())))


def measure(url: str, rows: list[dict[str, Any]], connections: int, batch: int, seconds: float) -> dict[str, float]:
    """Milliseconds a call and rows a second."""
    taken: list[float] = []
    ends = time.perf_counter() + seconds

    def send(first: int) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
            at = first
            while time.perf_counter() < ends:
                body = {"requests": [rows[(at + n) % len(rows)] for n in range(batch)]}
                at += batch
                began = time.perf_counter()
                http.post("/v1/predictions", json=body).raise_for_status()
                taken.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=send, args=(n * 100,)) for n in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = time.perf_counter() - began
    cuts = statistics.quantiles(taken, n=100)
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "rows": len(taken) * batch / total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", default=None)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(arguments.home or temporary).absolute()
        os.environ["FLIGHTDECK_RECORDS_URI"] = f"sqlite:///{temporary}/records.db"
        context = build_context(ROOT / "params.yaml", home)
        models = prepare(context)
        now = midnight(END, context.usecase.timezone) - timedelta(minutes=30)
        ReplayClock(context.records.simulated_time(context.usecase.name)).start(now)
        one, two = ((uri, read_model(context.data.store, ModelRef(uri)).sha256) for uri in (models["1"], models["2"]))
        plan = Plan(1, "bench", "50", "1", *one, "2", *two, 0.5, now)
        assert context.plans.replace(plan)
        rows = requests(context)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "pipelines.serving",
            "--params",
            str(ROOT / "params.yaml"),
            "--home",
            str(home),
        ]
        server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "FLIGHTDECK_SERVING_PORT": str(port)})
        try:
            url = f"http://127.0.0.1:{port}"
            wait(url)
            measure(url, rows, 1, 1, 2)  # warm
            results = {pattern: measure(url, rows, *pattern, arguments.seconds) for pattern in PATTERNS}
        finally:
            server.kill()
            server.wait()
    ground = Ground("benchmarks.serving", PARAMS, FLIGHTS, (context.params.features.service,))
    save(RESULTS / "serving.md", report(results, arguments.seconds), ground)


def wait(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit("the server did not become ready")


def report(results: dict[tuple[int, int], dict[str, float]], seconds: float) -> str:
    load = os.getloadavg()[0]
    command = f"python -m benchmarks.serving --seconds {seconds:g}"
    lines = [
        "# The model server",
        "",
        "One process; SQLite records and online store; every request scored by two versions (gradient boosting and a",
        "network), 33 inputs from 5 feature views, and logged before it is answered. Client and server on one machine.",
        "",
        "| connections | rows a call | p50 ms | p95 ms | p99 ms | rows/s |",
        "|---|---|---|---|---|---|",
    ]
    for (connections, batch), seen in results.items():
        numbers = " | ".join(f"{seen[name]:.1f}" for name in ("p50", "p95", "p99"))
        lines.append(f"| {connections} | {batch} | {numbers} | {seen['rows']:.0f} |")
    lines += ["", f"`{command}`, on {machine('onnxruntime', 'fastapi', load=load)} at the end."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
