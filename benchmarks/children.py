"""Measurements in processes of their own: seconds, and resident memory before the work and at its peak."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.ground import ROOT

GIGABYTE = 1e9


def measure(work: Callable[[], Any], repetitions: int, warm_up: int = 1) -> dict[str, Any]:
    """Run something repeatedly. Memory is in GB, `before` the first run and at the `peak` of the process."""
    before = _resident()
    runs = []
    for _ in range(warm_up + repetitions):
        began, spent = time.perf_counter(), time.process_time()
        result = work()
        runs.append((time.perf_counter() - began, time.process_time() - spent))
    kept = runs[warm_up:]
    return {
        "seconds": median(wall for wall, _ in kept),
        "cpu": median(spent for _, spent in kept),
        "all": [round(wall, 3) for wall, _ in kept],
        "before": before,
        "peak": peak(),
        "result": result,
    }


def peak() -> float:
    """The peak resident memory of this program, in GB; getrusage would include that of its parent."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / GIGABYTE


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / GIGABYTE


def child(module: str, *arguments: str, memory: float | None = None, timeout: float = 1800) -> dict[str, Any] | None:
    """What `python -m MODULE --child ARGUMENTS` prints as its last line, or None if it took more than `memory` GB.

    A child over its memory is killed within some hundredths of a second: other processes share the machine.
    """
    command = [sys.executable, "-m", module, "--child", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline, statm = time.monotonic() + timeout, Path(f"/proc/{process.pid}/statm")
    try:
        while memory is not None and process.poll() is None:
            try:
                held = int(statm.read_text().split()[1]) * resource.getpagesize() / GIGABYTE
            except (OSError, IndexError):
                break
            if held > memory or time.monotonic() > deadline:
                return None
            time.sleep(0.02)
        out, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    answer: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return answer
