"""Load by wrk on a server of this machine, and the CPU time of the server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.ground import ROOT

SCRIPT = ROOT / "benchmarks" / "load.lua"


@dataclass(frozen=True)
class Measured:
    """Calls, and calls a second; their milliseconds; the server's CPU microseconds per call; failed calls."""

    calls: int
    rate: float
    p50: float
    p99: float
    cpu: float
    errors: int


@dataclass(frozen=True)
class Target:
    """A server under load: its address, a file with one body per line, and its process with all child processes."""

    url: str
    path: str
    bodies: Path
    process: psutil.Process

    def put(self, connections: int, seconds: float, delay_ms: float = 0) -> Measured:
        """Load through a number of connections, each with one call at a time."""
        if not shutil.which("wrk"):
            raise SystemExit("wrk is not installed (apt install wrk)")
        variables = {"BODIES": str(self.bodies), "PATH_": self.path, "DELAY": str(delay_ms)}
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(SCRIPT), self.url]
        before = self._processor()
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
        taken = self._processor() - before
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        told = json.loads(line.removeprefix("RESULT "))
        return Measured(
            told["calls"],
            told["calls"] / told["seconds"],
            told["p50"],
            told["p99"],
            1e6 * taken / told["calls"],
            told["errors"],
        )

    def _processor(self) -> float:
        """Seconds."""
        times = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return float(sum(of.user + of.system for of in times))


@contextmanager
def serving(command: Sequence[str], url: str, ready: str, variables: Mapping[str, str]) -> Iterator[psutil.Process]:
    """A context manager of a running server, ready once `ready` answers without a server error."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # mlflow starts uvicorn by its name
    process = subprocess.Popen(
        [*command],
        cwd=ROOT,
        env={**os.environ, "PATH": programs, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} has ended with {process.returncode}")
            try:
                if httpx.get(f"{url}{ready}", trust_env=False, timeout=5).status_code < 500:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
