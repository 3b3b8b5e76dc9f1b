"""The code and the machine, on which a fit may depend besides its inputs and the libraries."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_info

from pipelines.artifacts.provenance import Machine

if TYPE_CHECKING:
    from pipelines.training.families import Family


@cache
def code_digest() -> str:
    """sha256 of the code of training, so that no fit or search continues what other code began."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        code.update(file.read_bytes())
    return code.hexdigest()


def machine_of(family: Family) -> Machine:
    """The threads, device and processes on which this process fits a family.

    They change the result: sums over rows are split among them, which changes rounding, and each process draws its own
    dropout.
    """
    threads = max((int(pool["num_threads"]) for pool in threadpool_info()), default=1)
    if "torch" not in family.LIBRARIES:
        return Machine(threads=threads, device="cpu", processes=1)
    from pipelines.training.processes import Processes, choose_device

    return Machine(threads=threads, device=choose_device().type, processes=Processes.joined().count)
