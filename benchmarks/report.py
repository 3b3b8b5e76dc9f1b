"""How a benchmark writes its result: the text, and the ground of its figures."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.ground import ROOT, Ground, Record

RESULTS = ROOT / "benchmarks" / "results"
GIGABYTE = 1e9


def save(file: Path, text: str, ground: Ground) -> None:
    """Print a result and write it, a Markdown file with its ground at its end.

    The ground is read now: leave code, params and declarations alone while a benchmark runs.

    Raises:
        LookupError: if a part of the ground does not exist, or the benchmark itself does not.
    """
    print(text)
    digests = ground.digests()
    there = {name for named in digests.values() for name in named}
    if missing := {*ground.params, *ground.data, *ground.services} - there:
        raise LookupError(f"{ground.benchmark} rests on {', '.join(sorted(missing))}, which is not there; correct it")
    if not digests["code"]:
        raise LookupError(f"{ground.benchmark} or one of {ground.runs} is no module; correct the names")
    record = Record(ground, datetime.now(UTC).date(), digests)
    file.write_text(f"{text.rstrip()}\n{record.text()}")


def machine(*packages: str, load: float | None = None) -> str:
    """A description of this machine, with the versions of some packages, and its load where that matters."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    libraries = "".join(f", {name} {version(name)}" for name in packages)
    busy = "" if load is None else f"; load average {load:.1f}"
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GB of memory, {platform.system()}, "
        f"Python {platform.python_version()}{libraries}{busy}"
    )
